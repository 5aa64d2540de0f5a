//! The simulator as a program of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

fn program(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teamleader-simulator"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn it_says_where_it_listens_and_ends_well_when_told_to_stop() {
    for signal in ["-TERM", "-INT"] {
        let mut child =
            program(&["--contacts", "100", "--count", "events=7", "--count", "users=2,notes=0", "--paged", "tags"]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").unwrap().trim_end();
        let counts = reqwest::get(format!("{url}/_simulator/truth")).await.unwrap().text().await.unwrap();
        assert!(
            counts.contains(r#""contacts":100,"#)
                && counts.contains(r#""events":7,"#)
                && counts.contains(r#""notes":0,"#),
            "{counts}"
        );
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_resource_that_does_not_exist_is_an_error() {
    assert!(!program(&["--count", "nonsense=1"]).wait().unwrap().success());
    assert!(!program(&["--paged", "nonsense"]).wait().unwrap().success());
    assert!(!program(&["--modules-off", "nonsense"]).wait().unwrap().success());
    assert!(!program(&["--sparse", "1.5"]).wait().unwrap().success());
}

#[tokio::test]
async fn its_webhooks_are_flags() {
    let flags = [
        "--deliver-webhooks-to=http://127.0.0.1:9",
        "--webhook-loss=0.1",
        "--webhook-duplicates=0.2",
        "--webhook-delay-ms=1-20",
        "--webhook-reorder=0.3",
        "--webhook-reorder-ms=5-5",
        "--webhook-forged=0.4",
        "--webhook-wrong-account=0.5",
        "--webhook-payload=data",
        "--webhook-message-subject=ticket",
        "--webhook-seed=7",
    ];
    let mut child = program(&flags);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.strip_prefix("listening on ").unwrap().trim_end();
    let settings = reqwest::get(format!("{url}/_simulator/webhooks/settings")).await.unwrap().text().await.unwrap();
    let settings: teamleader_simulator::Webhooks = serde_json::from_str(&settings).unwrap();
    let expected = teamleader_simulator::Webhooks {
        deliver_to: Some("http://127.0.0.1:9".to_owned()),
        loss: 0.1,
        duplicates: 0.2,
        delay_ms: (1, 20),
        reorder: 0.3,
        reorder_ms: (5, 5),
        forged: 0.4,
        wrong_account: 0.5,
        payload: teamleader_simulator::Payload::Data,
        message_subject: teamleader_simulator::MessageSubject::Ticket,
        seed: 7,
    };
    assert_eq!(settings, expected);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!program(&["--webhook-loss=2"]).wait().unwrap().success());
    assert!(!program(&["--webhook-delay-ms=5"]).wait().unwrap().success());
}

#[tokio::test]
async fn its_quirks_are_flags() {
    let flags = [
        "--pinned-version=2022-09-15",
        "--matches=everywhere",
        "--wrong-order=ignore",
        "--page-ceiling=7",
        "--page-size-ignored",
        "--unstable-order",
        "--sparse=0.1",
        "--contexts=documented",
        "--error-items=without_status",
        "--modules-off=milestones,projects",
        "--reset-form=milliseconds",
        "--date-offset-seconds=-86400",
        "--refusal-form=bare_invalid_grant",
        "--list-lag-seconds=2",
        "--discounts-without-ids",
        "--equal-discounts",
        "--webhooks-scope=false",
    ];
    let mut child = program(&flags);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.strip_prefix("listening on ").unwrap().trim_end();
    let quirks = reqwest::get(format!("{url}/_simulator/settings")).await.unwrap().text().await.unwrap();
    let quirks: teamleader_simulator::Quirks = serde_json::from_str(&quirks).unwrap();
    let expected = teamleader_simulator::Quirks {
        pinned_version: "2022-09-15".parse().unwrap(),
        matches: teamleader_simulator::Matches::Everywhere,
        wrong_order: teamleader_simulator::WrongOrder::Ignore,
        page_ceiling: Some(7),
        page_size_ignored: true,
        unstable_order: true,
        sparse: 0.1,
        contexts: teamleader_simulator::Contexts::Documented,
        error_items: teamleader_simulator::ErrorItems::WithoutStatus,
        modules_off: vec!["milestones".to_owned(), "projects".to_owned()],
        reset_form: teamleader_simulator::ResetForm::Milliseconds,
        date_offset_seconds: -86_400,
        refusal_form: teamleader_simulator::RefusalForm::BareInvalidGrant,
        list_lag_seconds: 2,
        discounts_without_ids: true,
        equal_discounts: true,
        webhooks_scope: false,
    };
    assert_eq!(quirks, expected);
    child.kill().unwrap();
    child.wait().unwrap();
}
