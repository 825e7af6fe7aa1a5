//! Magic customers: the service answers each one as `MAGIC_CUSTOMERS` says, in any order, with
//! `config/demo.toml`; `docs/clients/magic-customers.md` lists them.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, time::Duration};

use simulator::{Answer, MAGIC_CUSTOMERS, MagicCustomer, MintRequest};

use crate::support::{Reply, Stage, World};

/// The generated part of the document is between these lines.
const BEGIN: &str = "<!-- Generated from the code: `cargo test --test api magic_customers`. -->\n";
const END: &str = "<!-- End of the generated part. -->\n";

/// Magic customers for which Juspay seems to be down.
const FAILING: [&str; 11] = [
    "sim_429",
    "sim_500",
    "sim_503",
    "sim_reset",
    "sim_html",
    "sim_empty",
    "sim_huge",
    "sim_cut",
    "sim_chunked_cut",
    "sim_redirect",
    "sim_early_hints",
];

/// The answer to `subject`, however long it takes on the service's clock.
async fn answer(world: &World, subject: &str) -> Reply {
    let client = world.client(subject);
    let mut waiting = tokio::spawn(async move { client.me().await });
    loop {
        tokio::select! {
            biased;
            reply = &mut waiting => return reply.unwrap(),
            // A round trip takes longer than Juspay's answer, so the clock does not overtake it.
            () = world.settle() => world.clock.advance(Duration::from_millis(100)),
        }
    }
}

/// Status and code, as [`Answer`] shows them. A 200 must contain a token.
fn shown(reply: &Reply) -> Result<String, String> {
    if reply.status == 200 {
        let token = reply.json()["juspay"]["client_auth_token"].is_string();
        return if token { Ok("200".to_owned()) } else { Err(reply.text()) };
    }
    Ok(format!("{} {}", reply.status, reply.code()))
}

/// Requests each customer once, and compares the answers with the documented ones.
async fn walk(world: &World, customers: impl Iterator<Item = &MagicCustomer>) {
    let mut others = BTreeMap::new();
    for magic in customers {
        let reply = answer(world, magic.id).await;
        // A tester needs longer than the 20 ms until the surplus response of sim_surplus.
        world.advance(Duration::from_secs(1)).await;
        if shown(&reply).as_ref() != Ok(&magic.answer.to_string()) {
            others.insert(magic.id, shown(&reply));
        }
        if magic.id == "sim_429" {
            let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!(wait >= 7, "{}", reply.text());
        }
        if reply.status == 200 {
            assert_eq!(reply.json()["object_reference_id"], magic.id);
        }
    }
    assert_eq!(others, BTreeMap::new(), "answers other than documented");
    assert_eq!(answer(world, "alice").await.status, 200, "an ordinary customer is served at once");
}

async fn demo() -> World {
    Stage::set().await.open_demo().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_magic_customer_gets_the_documented_answer_in_order() {
    let world = demo().await;
    walk(&world, MAGIC_CUSTOMERS.iter()).await;
    // A second tester, right after the first one.
    walk(&world, MAGIC_CUSTOMERS.iter()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_magic_customer_gets_the_documented_answer_in_reverse_order() {
    walk(&demo().await, MAGIC_CUSTOMERS.iter().rev()).await;
}

/// With the default settings, the breaker would open.
#[tokio::test(flavor = "multi_thread")]
async fn failing_magic_customers_do_not_stop_calls_for_others() {
    let world = demo().await;
    for round in 0..2 {
        for magic in FAILING.map(|id| MagicCustomer::named(id).unwrap()) {
            assert_eq!(shown(&answer(&world, magic.id).await), Ok(magic.answer.to_string()));
        }
        assert_eq!(answer(&world, &format!("alice{round}")).await.status, 200);
        // The next round calls Juspay again.
        world.purge_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_magic_customers_are_created_or_rejected() {
    let world = World::with("juspay.create_missing_customers = true").await;
    let new = |subject: &str| {
        let token = MintRequest::of(subject).with("phone_number", "+919876543210");
        world.client_with(&token.with("phone_number_verified", true))
    };
    for _ in 0..2 {
        assert_eq!(shown(&new("sim_new").me().await), Ok("200".to_owned()));
        world.purge_all().await;
    }
    let reply = new("sim_rejected_field").me().await;
    assert_eq!(shown(&reply), Ok("422 customer_not_creatable".to_owned()));
    assert!(reply.text().contains("mobile_number"), "{}", reply.text());
    let requests = world.simulator().requests();
    let created = requests.iter().filter_map(|it| it.form_value("object_reference_id"));
    assert_eq!(created.collect::<Vec<_>>(), ["sim_new", "sim_rejected_field"]);
}

#[test]
fn docs_magic_customers_is_current() {
    let mut expected = String::from(
        "\n| subject | Juspay's behavior | the app gets | what it simulates |\n|---|---|---|---|\n",
    );
    for MagicCustomer { id, description, answer, scenario, .. } in MAGIC_CUSTOMERS {
        let answer = match answer {
            Answer::Customer => "200".to_owned(),
            Answer::Problem { status, code } => format!("{status} [`{code}`](../api.md#{code})"),
        };
        writeln!(expected, "| `{id}` | {description} | {answer} | {scenario} |").unwrap();
    }
    expected.push('\n');
    let name = Path::new("docs/clients/magic-customers.md");
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let (head, rest) = document.split_once(BEGIN).expect("the start of the generated part");
    let (generated, tail) = rest.split_once(END).expect("the end of the generated part");
    if generated != expected {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("magic-customers.md");
        fs::write(&new, format!("{head}{BEGIN}{expected}{END}{tail}")).expect("a directory");
        panic!("{} is stale: cp {} {}", name.display(), new.display(), name.display());
    }
}
