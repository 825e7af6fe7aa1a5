//! Incidents, one after the other: each is caused in a running service, and the admin page, the
//! alerts, the log and the runbook must name the same cause. Needs Chromium and promtool:
//! `tests/incidents/run`.
//!
//! `table` lists the incidents. `played` causes one and scrapes the service before and after a
//! minute of traffic; `page` shows both scrapes to the real page, and `alerts` evaluates the
//! shipped rules as if that minute repeated. `full_disk` needs a process with its own log.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that panics fails, as it should"
)]
#![expect(unreachable_pub, reason = "`pub` marks what tests may use of their support files")]

mod alerts;
#[path = "../page/browser.rs"]
#[expect(dead_code, reason = "the tests of the page need more of it")]
mod browser;
mod full_disk;
mod page;
mod played;
#[expect(dead_code, reason = "the other tests need more of it")]
mod support;
mod table;

use std::{collections::BTreeSet, fmt::Debug, fs, path::Path};

use serde_json::Value;

use self::{
    page::Page,
    played::Played,
    table::{Cause, INCIDENTS, Incident},
};

fn shipped(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn page_alert_log_and_runbook_name_the_same_cause() {
    let mut page = Page::open().await;
    let mut played = Vec::new();
    let mut shown = Vec::new();
    for incident in INCIDENTS {
        let this = match incident.causes {
            [Cause::FullDisk] => full_disk::played().await,
            _ => Played::of(incident).await,
        };
        shown.push(page.lines(&this).await);
        played.push(this);
    }
    page.close().await;
    let firing = alerts::firing(&played);
    let mut faults = Vec::new();
    for (((incident, played), lines), firing) in INCIDENTS.iter().zip(played).zip(shown).zip(firing)
    {
        let mut found = Vec::new();
        compare(&mut found, "lines of the page", &lines, &owned(incident.attention));
        let expected: BTreeSet<_> = incident.alerts.iter().map(|it| (*it).to_owned()).collect();
        compare(&mut found, "alerts", &firing, &expected);
        check_log(&mut found, incident, &played.log);
        check_cause(&mut found, incident, &lines);
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", incident.name)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The commands of "What to do when…" are causes of incidents, with the same runbooks.
#[test]
fn documented_commands_cause_the_incidents() {
    let text = shipped("docs/operations.md");
    let (_, chapter) = text.split_once("## What to do when…").unwrap();
    let commands = chapter.lines().filter(|line| line.contains("`curl -d '")).map(|line| {
        let (_, command) = line.split_once("`curl -d '").unwrap();
        let (body, rest) = command.split_once("' http://127.0.0.1:8081/_simulator/").unwrap();
        (line, rest.split_once('`').unwrap().0, body)
    });
    let mut number = 0;
    for (line, path, body) in commands {
        let causes = |incident: &&Incident| {
            matches!(incident.causes, [Cause::Simulator(p, b)] if (*p, *b) == (path, body))
                && incident.runbook.is_some_and(|runbook| line.contains(&format!("[{runbook}]")))
        };
        assert!(INCIDENTS.iter().any(|incident| causes(&incident)), "no incident for {line}");
        number += 1;
    }
    assert_eq!(number, 10);
}

fn owned(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines.iter().map(|(text, link)| ((*text).to_owned(), (*link).to_owned())).collect()
}

fn compare<T: PartialEq + Debug>(faults: &mut Vec<String>, what: &str, found: &T, expected: &T) {
    if found != expected {
        faults.push(format!("{what}: {found:?} instead of {expected:?}"));
    }
}

/// A line of the log begins like this, has these fields, and names the cause.
fn check_log(faults: &mut Vec<String>, incident: &Incident, log: &[Value]) {
    let Some((message, fields)) = incident.log else { return };
    let fits = |line: &&Value| {
        line["message"].as_str().is_some_and(|text| text.starts_with(message))
            && fields.iter().all(|(field, value)| line[*field] == **value)
    };
    if let Some(line) = log.iter().find(fits) {
        check_names(faults, "the log line", &line.to_string(), incident.cause);
    } else {
        let messages: BTreeSet<_> = log.iter().map(|line| line["message"].as_str()).collect();
        faults.push(format!("no line {message:?} {fields:?} among {messages:?}"));
    }
}

/// Page, alert and runbook name the cause, the page names each alert, and the runbook quotes the
/// log line.
fn check_cause(faults: &mut Vec<String>, incident: &Incident, lines: &[(String, String)]) {
    let Incident { cause, runbook, log, alerts, .. } = incident;
    for alert in *alerts {
        if !lines.iter().any(|(_, link)| !link.is_empty() && alert.starts_with(link.as_str())) {
            faults.push(format!("the page does not name {alert}"));
        }
    }
    let Some(runbook) = runbook else { return };
    let line: String =
        lines.iter().filter(|(_, link)| link == runbook).map(|(text, _)| text.as_str()).collect();
    let text = alerts::section(runbook);
    check_names(faults, "the line of the page", &line, cause);
    // Prometheus inserts the codes; tests/prometheus/rules/slo.test.yml has such a description.
    let alert = alerts::texts(runbook).replace("{{ .Labels.code }}", cause);
    check_names(faults, "the alert", &alert, cause);
    check_names(faults, "the runbook", &text, cause);
    match log {
        None => check_names(faults, "the runbook", &text, "**Log**: none"),
        Some((message, fields)) => {
            let words = fields.iter().map(|(_, value)| *value).chain([*message]);
            for word in words.filter(|word| *word != "request") {
                check_names(faults, "the runbook", &text, &format!("`{word}"));
            }
        }
    }
}

fn check_names(faults: &mut Vec<String>, what: &str, text: &str, words: &str) {
    let plain = |text: &str| text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    if !plain(text).contains(&plain(words)) {
        faults.push(format!("{what} lacks {words:?}: {text}"));
    }
}
