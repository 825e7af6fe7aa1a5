//! `check-config --manifests`: the settings of containers in rendered Kubernetes manifests.

use serde_json::Value;

use crate::support::process::{Ended, bff, run};

/// A Deployment as the chart renders it. `#…` lines are where a test inserts its own.
const MANIFESTS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: pay}
spec:
  template:
    spec:
      containers:
        - name: juspay-bff
          image: registry.acme.test/juspay-bff:1
          args: [serve, --config, /etc/juspay-bff/settings.toml]
          envFrom:
            - configMapRef: {name: pay-site}
          env:
            - {name: JUSPAY_BFF__SERVER__WORKERS, value: "3"}
            #env
          volumeMounts:
            - {name: settings, mountPath: /etc/juspay-bff}
            - {name: secrets, mountPath: /run/secrets/juspay-bff}
      volumes:
        - name: settings
          configMap: {name: pay-settings}
        - name: secrets
          secret: {secretName: pay}
---
# A document without an object.
---
apiVersion: v1
kind: ConfigMap
metadata: {name: pay-settings}
data:
  settings.toml: |
    [server]
    workers = 2
    [juspay]
    api_key_file = "/run/secrets/juspay-bff/key"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: pay-site}
data:
  JUSPAY_BFF__JUSPAY__BASE_URL: https://juspay.test
  JUSPAY_BFF__JUSPAY__MERCHANT_ID: acme
  JUSPAY_BFF__AUTH__ISSUERS__MAIN__ISSUER: https://issuer.test
  JUSPAY_BFF__AUTH__ISSUERS__MAIN__AUDIENCES: phones
  JUSPAY_BFF__AUTH__ISSUERS__MAIN__ALGORITHMS: ES256
  JUSPAY_BFF__AUTH__ISSUERS__MAIN__DISCOVERY: "true"
"#;

/// The manifests with each first text replaced by the second.
fn manifests(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(MANIFESTS.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old}");
        text.replace(old, new)
    })
}

async fn check(manifests: &str, flags: &[&str]) -> Ended {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, manifests).unwrap();
    let path = file.path().to_str().unwrap();
    let mut command = bff(&[&["check-config", "--manifests", path], flags].concat());
    // The variables of this process are not the container's.
    command.env("JUSPAY_BFF__SERVER__WORKERS", "7");
    run(command).await
}

/// Checks the manifests with one change. All texts must be in the errors.
async fn assert_rejected(old: &str, new: &str, expected: &[&str]) {
    let ended = check(&manifests(&[(old, new)]), &[]).await;
    assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{new}: {}", ended.stderr);
    for text in expected {
        assert!(ended.stderr.contains(text), "{text:?} is not in {}", ended.stderr);
    }
}

/// The settings of the first container.
async fn settings(manifests: &str) -> Value {
    let ended = check(manifests, &["--format", "json"]).await;
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{}", ended.stdout);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    document["manifests"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_those_of_the_container() {
    let found = settings(MANIFESTS).await;
    assert_eq!(found["object"], "Deployment pay");
    assert_eq!(found["settings"]["juspay"]["merchant_id"], "acme");
    assert_eq!(found["settings"]["server"]["workers"], 3, "variables override the file");
    assert_eq!(found["settings"]["juspay"]["api_key_file"], "/run/secrets/juspay-bff/key");

    let text = check(MANIFESTS, &[]).await;
    assert_eq!((text.code, &*text.stderr), (Some(0), ""));
    assert!(text.stdout.starts_with("# Deployment pay\n"), "{}", text.stdout);
    assert!(text.stdout.contains("merchant_id = \"acme\""), "{}", text.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_read_for_a_dash() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, MANIFESTS).unwrap();
    let mut command = bff(&["check-config", "--manifests", "-"]);
    command.stdin(std::fs::File::open(file.path()).unwrap());
    assert_eq!(run(command).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_found_wherever_a_container_can_have_them() {
    for (changes, pointer, expected) in [
        (
            (
                "#env",
                "- {name: JUSPAY_BFF__LOG__LEVEL, valueFrom: {configMapKeyRef: {name: pay-more, key: level}}}",
            ),
            "/settings/log/level",
            "debug",
        ),
        (
            (
                "name: pay-site}\n          env",
                "name: pay-site}\n            - {prefix: JUSPAY_BFF__LOG__, configMapRef: {name: pay-more}}\n          env",
            ),
            "/settings/log/level",
            "debug",
        ),
        (
            (
                "#env",
                "- {name: JUSPAY_BFF__JUSPAY__API_KEY, valueFrom: {secretKeyRef: {name: pay, key: k}}}",
            ),
            "/settings/juspay/api_key",
            "********",
        ),
    ] {
        let mut changes = vec![changes];
        if pointer.ends_with("api_key") {
            changes.push(("api_key_file = \"/run/secrets/juspay-bff/key\"", ""));
        }
        let more = "---\n{kind: ConfigMap, metadata: {name: pay-more}, data: {level: debug, LEVEL: debug}}\n";
        let found = settings(&(manifests(&changes) + more)).await;
        assert_eq!(found.pointer(pointer).unwrap(), expected, "{changes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_found_in_every_kind_of_object() {
    for changes in [
        &[("kind: Deployment", "kind: StatefulSet")][..],
        &[("      containers:", "      containers: [{name: app}]\n      initContainers:")],
        &[("kind: Deployment", "kind: Pod"), ("  template:\n    spec:\n", "")],
        &[
            ("kind: Deployment", "kind: CronJob"),
            (
                "spec:\n  template:\n    spec:\n",
                "spec:\n  jobTemplate:\n   spec:\n    template:\n     spec:\n",
            ),
        ],
    ] {
        let found = settings(&manifests(changes)).await;
        assert_eq!(found["settings"]["juspay"]["merchant_id"], "acme", "{changes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_file_may_be_mounted_by_sub_path_and_named_with_an_equals_sign() {
    let changes = [
        ("--config, /etc/juspay-bff/settings.toml", "--config=/etc/bff.toml"),
        ("mountPath: /etc/juspay-bff", "mountPath: /etc/bff.toml, subPath: settings.toml"),
        ("{name: JUSPAY_BFF__SERVER__WORKERS, value: \"3\"}", "{name: A, value: b}"),
    ];
    assert_eq!(settings(&manifests(&changes)).await["settings"]["server"]["workers"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_file_may_have_another_key_or_be_in_a_projected_volume() {
    let items = "items: [{key: other, path: other.toml}, {key: production, path: settings.toml}]";
    for volume in [
        format!("configMap: {{name: pay-settings, {items}}}"),
        format!(
            "projected: {{sources: [{{secret: {{name: pay}}}}, \
             {{configMap: {{name: pay-settings, {items}}}}}]}}"
        ),
    ] {
        let changes =
            [("configMap: {name: pay-settings}", &*volume), ("settings.toml: |", "production: |")];
        let found = settings(&manifests(&changes)).await;
        assert_eq!(found["settings"]["juspay"]["api_key_file"], "/run/secrets/juspay-bff/key");
    }
    // Keys that `items` does not name are not in the volume.
    let other = "configMap: {name: pay-settings, items: [{key: settings.toml, path: other.toml}]}";
    let expected = ["no ConfigMap in the manifests has this settings file"];
    assert_rejected("configMap: {name: pay-settings}", other, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn api_key_may_be_a_variable_of_a_whole_secret() {
    let secret = (
        "name: pay-site}\n          env",
        "name: pay-site}\n            - secretRef: {name: pay}\n          env",
    );
    let no_key = ("api_key_file = \"/run/secrets/juspay-bff/key\"", "");
    let found = settings(&manifests(&[secret, no_key])).await;
    assert_eq!(found["settings"]["juspay"]["api_key"], "********");
    // The settings already name a file with the key.
    let found = settings(&manifests(&[secret])).await;
    assert_eq!(found["settings"]["juspay"]["api_key"], Value::Null);
    let wrong_file = ("/run/secrets/juspay-bff/key", "/run/secret/key");
    let ended = check(&manifests(&[secret, wrong_file]), &[]).await;
    assert!(ended.stderr.contains("in no volume of the container"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("only one of the two"), "{}", ended.stderr);
    assert_rejected(no_key.0, no_key.1, &["no API key"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_name_the_key_the_fix_and_the_object() {
    let site = "environment variable JUSPAY_BFF__JUSPAY__MERCHANT in ConfigMap pay-site";
    for (old, new, expected) in [
        (
            "MERCHANT_ID",
            "MERCHANT",
            &["juspay.merchant\n", "did you mean juspay.merchant_id?", site][..],
        ),
        (
            "MERCHANT_ID: acme",
            "X: acme",
            &["juspay.merchant_id\n", "is missing", "where:  Deployment pay\n"],
        ),
        ("value: \"3\"", "value: none", &["server.workers\n", "WORKERS in Deployment pay\n"]),
        (
            "workers = 2",
            "workers = 2\n    nothing = 1",
            &[
                "server.nothing\n",
                "/etc/juspay-bff/settings.toml in ConfigMap pay-settings, line 3\n",
            ],
        ),
        (
            "/run/secrets/juspay-bff/key",
            "/run/secret/key",
            &["juspay.api_key_file\n", "in no volume of the container", "volumeMounts"],
        ),
        (
            "#env",
            "- {name: JUSPAY_BFF__JUSPAY__API_KEY, value: hush}",
            &[
                "settings.toml in ConfigMap pay-settings, line 4 and ",
                "API_KEY in Deployment pay\n",
            ],
        ),
    ] {
        assert_rejected(old, new, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_refers_to_must_be_in_the_manifests() {
    for (old, new, expected) in [
        (
            "configMap: {name: pay-settings}",
            "emptyDir: {}",
            &[
                "/etc/juspay-bff/settings.toml\n",
                "no ConfigMap in the manifests has",
                "where:  Deployment pay\n",
            ][..],
        ),
        (
            "configMapRef: {name: pay-site}",
            "configMapRef: {name: site}",
            &["ConfigMap site\n", "not in the manifests", "correct env and envFrom"],
        ),
        (
            "#env",
            "- {name: A, valueFrom: {configMapKeyRef: {name: pay-site, key: none}}}",
            &["ConfigMap pay-site\n"],
        ),
    ] {
        assert_rejected(old, new, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn optional_references_may_be_missing() {
    let optional =
        "configMapRef: {name: pay-site}\n            - configMapRef: {name: a, optional: true}";
    assert_eq!(
        check(&manifests(&[("configMapRef: {name: pay-site}", optional)]), &[]).await.code,
        Some(0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_the_examples_are_rejected() {
    for (old, new, key, place) in [
        (
            "registry.acme.test",
            "registry.example.com",
            "image",
            "Deployment pay, container juspay-bff",
        ),
        (
            "MERCHANT_ID: acme",
            "MERCHANT_ID: my_merchant",
            "JUSPAY_BFF__JUSPAY__MERCHANT_ID",
            "ConfigMap pay-site",
        ),
        (
            "AUDIENCES: phones",
            "AUDIENCES: my-app",
            "JUSPAY_BFF__AUTH__ISSUERS__MAIN__AUDIENCES",
            "ConfigMap pay-site",
        ),
        (
            "https://issuer.test",
            "https://login.example.com",
            "JUSPAY_BFF__AUTH__ISSUERS__MAIN__ISSUER",
            "ConfigMap pay-site",
        ),
    ] {
        let ended = check(&manifests(&[(old, new)]), &["--format", "json"]).await;
        assert_eq!((ended.code, &*ended.stderr), (Some(2), ""), "{new}: {}", ended.stdout);
        let document: Value = serde_json::from_str(&ended.stdout).unwrap();
        let fault = &document["faults"][0];
        assert_eq!((&fault["key"], &fault["origin"]), (&key.into(), &place.into()));
        assert!(!ended.stdout.contains(new.rsplit(' ').next().unwrap()), "{}", ended.stdout);
    }
    // "my-app" is only the whole value.
    assert_eq!(check(&manifests(&[("phones", "my-apple")]), &[]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_with_equal_settings_are_one_item() {
    let pod = MANIFESTS.split("---").next().unwrap().replace("name: pay}", "name: second}");
    let other = pod.replace("\"3\"", "\"4\"");
    for (pod, expected) in [(pod.clone(), 1), (other.clone(), 2), (format!("{other}---\n{pod}"), 2)]
    {
        let ended = check(&format!("{MANIFESTS}---\n{pod}"), &["--format", "json"]).await;
        let document: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(document["manifests"].as_array().map(Vec::len), Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_with_the_same_fault_report_it_once() {
    let one = manifests(&[("MERCHANT_ID: acme", "X: acme")]);
    let pod = one.split("---").next().unwrap().replace("name: pay}", "name: second}");
    let ended = check(&format!("{one}---\n{pod}"), &[]).await;
    assert_eq!(ended.stderr.matches("juspay.merchant_id\n").count(), 1, "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_manifests_are_reported_without_their_content() {
    for (text, expected) in [
        ("a: [hush", "not valid YAML; pass the output of helm or kustomize"),
        ("a: hush", "no container is named juspay-bff; pass all manifests"),
        ("", "no container is named juspay-bff; pass all manifests"),
    ] {
        let ended = check(text, &[]).await;
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{text}");
        assert!(
            ended.stderr.contains(expected) && !ended.stderr.contains("hush"),
            "{}",
            ended.stderr
        );
    }
    let missing = run(bff(&["check-config", "--manifests", "/nonexistent"])).await;
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("failed to read /nonexistent"), "{}", missing.stderr);
}
