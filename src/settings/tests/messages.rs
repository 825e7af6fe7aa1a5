//! Complete messages of selected faults: key, reason, fix and origin.

use super::*;

/// The message of one fault.
fn message(key: &str, reason: &str, fix: &str, place: &str) -> String {
    format!("{key}\n  reason: {reason}\n  fix:    {fix}\n  where:  {place}\n")
}

/// The messages of all faults of these settings.
fn blocks(sources: Sources) -> Vec<String> {
    faults_of(sources).iter().map(ToString::to_string).collect()
}

/// The messages of all faults of these lines, which override valid settings.
fn of_lines(lines: &str) -> Vec<String> {
    blocks(valid().text("x.toml", lines))
}

#[test]
fn port_without_address_is_rejected() {
    for (key, line) in [
        ("server.listen", "server.listen = 8080"),
        ("server.admin_listen", "server.admin_listen = 9464"),
    ] {
        let reason = "expected a string or a list of strings, found an integer";
        let fix =
            "write an IP address and port in quotes, such as \"0.0.0.0:8080\", or \"unix:PATH\"";
        assert_eq!(of_lines(line), [message(key, reason, fix, "x.toml, line 1")]);
    }
}

#[test]
fn unreadable_settings_file_is_reported_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.toml");
    let binary = directory.path().join("binary.toml");
    std::fs::write(&binary, b"\xff").unwrap();
    for (path, reason, fix) in [
        (
            missing.as_path(),
            "the settings file can't be read: no such file",
            "write the path of a file that exists, or create the file",
        ),
        (
            directory.path(),
            "the settings file can't be read: it is a directory, not a regular file",
            "write the path of a regular file, or of a symlink to one",
        ),
        (&binary, "is not UTF-8 text", "save it as UTF-8"),
    ] {
        let faults = faults_of(valid().file(path));
        let shown = (&*faults[0].key, &*faults[0].reason, &*faults[0].fix);
        assert_eq!(shown, (path.to_str().unwrap(), reason, fix));
        assert_eq!(faults.len(), 1);
    }
}

#[test]
fn syntax_error_is_reported_with_position_and_expectation() {
    let fix = "correct that line; strings and durations need quotes, and a key may occur only once";
    for (text, place, cause) in [
        (
            "[juspay]\nmerchant_id = hush",
            (2, 15),
            "string values must be quoted, expected literal string",
        ),
        ("a = \"hush\nb = 1", (1, 10), "invalid basic string, expected `\"`"),
        ("a = 1\na = 'hush'", (2, 1), "duplicate key"),
        ("[hush", (1, 6), "unclosed table, expected `]`"),
        ("hush", (1, 5), "key with no value, expected `=`"),
        ("a = [1, 'hush'", (1, 15), "unclosed array, expected `]`"),
        ("a = 2026-13-45hush", (1, 5), ""),
        ("a = 1hush", (1, 5), ""),
        ("a.b = 'hush'\na.b.c = 1", (2, 3), "cannot extend value of type string with a dotted key"),
    ] {
        let (line, column) = place;
        let faults = faults_of(valid().text("x.toml", text));
        let fault = &faults[0];
        let reason = format!("is not valid TOML at line {line}, column {column}: {cause}");
        if cause.is_empty() {
            // The TOML parser chooses its words for numbers and dates, so they are not compared.
            assert!(fault.reason.starts_with("is not valid TOML at line 1, column "), "{fault}");
            assert!(fault.reason.len() > reason.len(), "{fault}");
        } else {
            assert_eq!(fault.reason, reason, "{text}");
        }
        assert_eq!((&*fault.key, &*fault.fix), ("x.toml", fix));
        assert_eq!(fault.origin.as_deref(), Some(&*format!("x.toml, line {line}")));
    }
}

#[test]
fn all_violations_of_an_address_are_reported() {
    let exposed = message(
        "juspay.base_url",
        "the API key would cross the network in plain http",
        "use https, or set juspay.allow_plain_http = true if the network to Juspay is private",
        "x.toml, line 1",
    );
    let query = message(
        "juspay.base_url",
        "has a query",
        "remove the ? and everything after it",
        "x.toml, line 1",
    );
    assert_eq!(of_lines("juspay.base_url = 'http://juspay.example?hush'"), [query, exposed]);
    let reasons = |lines: &str| {
        let faults = faults_of(valid().text("x.toml", lines));
        faults.into_iter().map(|fault| fault.reason).collect::<Vec<_>>()
    };
    let keys = "auth.issuers.main.discovery = 'http://a:hush@id.example/#hush'";
    assert_eq!(reasons(keys).len(), 3, "{:?}", reasons(keys));
    let public = "server.public_url = 'https://a:hush@b.example/../?hush'";
    assert_eq!(reasons(public).len(), 3, "{:?}", reasons(public));
    let key = "juspay.api_key = 'hush hush:'";
    assert_eq!(reasons(key).len(), 2, "{:?}", reasons(key));
}

#[test]
fn quoted_boolean_is_rejected() {
    let quoted = message(
        "auth.issuers.main.discovery",
        "expected true or false, found a string: the value is in quotes",
        "write true or false without quotes",
        "x.toml, line 1",
    );
    assert_eq!(of_lines("auth.issuers.main.discovery = \"true\""), [&*quoted]);
    assert_eq!(of_lines("auth.issuers.main.discovery = \"false\""), [quoted]);
    let plain = message(
        "juspay.allow_plain_http",
        "expected true or false, found a string",
        "write true or false without quotes",
        "x.toml, line 1",
    );
    assert_eq!(of_lines("juspay.allow_plain_http = 'true'"), [plain]);
}

#[test]
fn discovery_url_is_rejected_as_issuer() {
    for issuer in [
        "https://id.example/.well-known/openid-configuration",
        "https://id.example/realm/.well-known/openid-configuration",
        "https://id.example/.well-known/oauth-authorization-server/realm",
    ] {
        let shown = of_lines(&format!("auth.issuers.main.issuer = '{issuer}'"));
        let expected = message(
            "auth.issuers.main.issuer",
            "expected the issuer identifier, found the address of its discovery document",
            "write the iss claim of its tokens, which is usually this address up to /.well-known \
             (with a slash at the end at some issuers); and set discovery = true instead of another \
             key source",
            "x.toml, line 1",
        );
        assert_eq!(shown, [expected], "{issuer}");
    }
}

#[test]
fn several_key_sources_are_named_with_their_lines() {
    let text = "[auth.issuers.main]\nalgorithms = ['ES256']\njwks_file = 'Cargo.toml'\n\n\
                jwks_url = 'https://id.example/keys'";
    let expected = message(
        "auth.issuers.main",
        "has more than one key source: jwks_url, jwks_file, discovery",
        "keep one, and remove the others",
        "x.toml, line 5 and x.toml, line 3 and good.toml, line 11",
    );
    assert_eq!(of_lines(text), [expected]);
}

#[test]
fn endpoint_as_base_url_is_rejected() {
    for url in ["https://api.juspay.in/customers", "https://sandbox.juspay.in/v1"] {
        let expected = message(
            "juspay.base_url",
            "has a path, but the service adds /customers/… itself",
            "remove the path: write the origin only, such as \"https://api.juspay.in\"",
            "x.toml, line 1",
        );
        assert_eq!(of_lines(&format!("juspay.base_url = '{url}'")), [expected], "{url}");
    }
    assert_eq!(of_lines("juspay.base_url = 'https://gateway.example/juspay'"), [""; 0]);
}

#[test]
fn merchant_id_with_whitespace_is_rejected() {
    for id in ["my merchant", " merchant", "merchant "] {
        let expected = message(
            "juspay.merchant_id",
            "contains whitespace",
            "write it as Juspay shows it, in ASCII and without spaces",
            "x.toml, line 1",
        );
        assert_eq!(of_lines(&format!("juspay.merchant_id = '{id}'")), [expected], "{id:?}");
    }
}

#[test]
fn fields_without_the_token_are_a_warning() {
    let warnings = |sources: Sources| {
        let loaded = sources.load().unwrap();
        loaded.warnings.iter().map(Fault::warning).collect::<Vec<_>>()
    };
    let fields = "response.fields = ['id', 'first_name']";
    assert_eq!(
        warnings(valid().text("x.toml", fields)),
        ["response.fields does not include \"juspay\", so phones get no client auth token; add \
          \"juspay\", unless this is intended; a phone that needs no token sends \
          ?options.get_client_auth_token=false"]
    );
    let loaded = valid().text("x.toml", fields).load().unwrap();
    assert_eq!(loaded.warnings[0].origin.as_deref(), Some("x.toml, line 1"));
    assert_eq!(warnings(valid().text("x.toml", "response.fields = ['juspay']")), [""; 0]);
}

#[test]
fn json_list_in_a_variable_is_rejected() {
    let name = "JUSPAY_BFF__AUTH__ISSUERS__MAIN__AUDIENCES";
    for list in [r#"["hush","b"]"#, "['hush']", "[hush]"] {
        let expected = message(
            "auth.issuers.main.audiences",
            "is a JSON or TOML list, which an environment variable cannot contain",
            "separate the items with commas, such as a,b",
            &format!("environment variable {name}"),
        );
        assert_eq!(blocks(valid().variable(name, list)), [expected], "{list}");
    }
}

#[test]
fn empty_variable_is_named_if_its_setting_is_missing() {
    let second = "[auth.issuers.second]\nissuer = 'https://b.example'\naudiences = ['b']\n\
                  algorithms = ['ES256']\ndiscovery = true\ncustomer_id_prefix = 'b-'";
    let name = "JUSPAY_BFF__AUTH__ISSUERS__MAIN__CUSTOMER_ID_PREFIX";
    let expected = message(
        "auth.issuers.main.customer_id_prefix",
        &format!(
            "is missing; with several issuers the same id could mean two customers: {name} is \
             empty, and an empty variable counts as unset"
        ),
        "give each issuer its own customer_id_prefix, which precedes the claim in the customer's \
         id, or set auth.shared_customer_ids = true if all of them name the same customers; one \
         prefix may be empty, in a settings file only",
        &format!("environment variable {name}"),
    );
    assert_eq!(blocks(valid().text("second", second).variable(name, "")), [expected]);

    let name = "JUSPAY_BFF__JUSPAY__MERCHANT_ID";
    let without = VALID.replace("merchant_id = \"merchant\"\n", "");
    let expected = message(
        "juspay.merchant_id",
        &format!("is missing: {name} is empty, and an empty variable counts as unset"),
        "set it to the merchant id that Juspay's dashboard shows",
        &format!("environment variable {name}"),
    );
    assert_eq!(blocks(Sources::default().text("x", without).variable(name, "")), [expected]);

    let name = "JUSPAY_BFF__JUSPAY__API_KEY";
    let without = VALID.replace("api_key = \"key\"\n", "");
    let shown = blocks(Sources::default().text("x", without).variable(name, ""));
    assert!(shown[0].starts_with("juspay.api_key_file\n") && shown[0].contains(name), "{shown:?}");
}

#[test]
fn warnings_are_reported_along_with_faults() {
    let faults = valid()
        .text("x.toml", "log.level = 'loud'\nresponse.fields = ['id']")
        .variable("JUSPAY_BFF_LOG_LEVEL", "hush")
        .load()
        .unwrap_err();
    let shown = faults.to_string();
    assert!(shown.starts_with("The settings have 1 error:\n\nlog.level\n"), "{shown}");
    let typo = "\n\nwarning: JUSPAY_BFF_LOG_LEVEL is ignored: the names of settings begin with \
                JUSPAY_BFF__ and have two underscores between section and key; rename the \
                variable, or unset it\n";
    assert!(shown.contains(typo), "{shown}");
    assert!(shown.contains("\nwarning: response.fields does not include \"juspay\""), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
    assert_eq!(faults.warnings().len(), 2);
}

#[test]
fn admin_address_is_read_despite_other_faults() {
    let broken = "server = {admin_listen = '0.0.0.0:1', workers = 0}\njuspay.api_key = 'a:b'";
    let listen = |sources: Sources| sources.admin_listen();
    let tcp = |text: &str| Listen::Tcp(text.parse().unwrap());
    assert_eq!(listen(Sources::default()).unwrap(), [tcp("127.0.0.1:9464")]);
    assert_eq!(listen(Sources::default().text("x.toml", broken)).unwrap(), [tcp("0.0.0.0:1")]);
    let variable = "JUSPAY_BFF__SERVER__ADMIN_LISTEN";
    let sources = Sources::default().text("x.toml", broken).variable(variable, "unix:/a,[::1]:2");
    assert_eq!(listen(sources).unwrap(), [Listen::Unix("/a".into()), tcp("[::1]:2")]);
    let faults = listen(Sources::default().text("x.toml", "server.admin_listen = 9464"));
    assert_eq!(faults.unwrap_err().iter().next().unwrap().key, "server.admin_listen");
    let faults = listen(Sources::default().file("/nonexistent.toml")).unwrap_err();
    let reason = &faults.iter().next().unwrap().reason;
    assert_eq!(reason, "the settings file can't be read: no such file");
}
