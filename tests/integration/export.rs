//! `export`: views as CSV and as lines of JSON.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use uuid::Uuid;

use crate::stage::{Ended, Stage, storable, until};

/// A row of CSV by its columns; a field without quotes and without anything in it is null.
type Row = BTreeMap<String, Option<String>>;

/// The header and the rows of CSV.
pub fn csv(text: &str, separator: char) -> (Vec<String>, Vec<Row>) {
    let (mut lines, mut line, mut chars) = (Vec::new(), Vec::new(), text.chars().peekable());
    while chars.peek().is_some() {
        let mut field = String::new();
        let quoted = chars.next_if_eq(&'"').is_some();
        let end = loop {
            match chars.next().expect("a line ends") {
                '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
                '"' if quoted => break chars.next().expect("a line ends"),
                end if !quoted && (end == separator || end == '\n') => break end,
                c => field.push(c),
            }
        };
        line.push((quoted || !field.is_empty()).then_some(field));
        if end == '\n' {
            lines.push(std::mem::take(&mut line));
        } else {
            assert_eq!(end, separator);
        }
    }
    let header: Vec<String> = lines.remove(0).into_iter().map(|name| name.expect("a name")).collect();
    let rows = lines.into_iter().map(|line| {
        assert_eq!(line.len(), header.len());
        header.iter().cloned().zip(line).collect()
    });
    (header.clone(), rows.collect())
}

/// What an export to a file said.
pub fn said(ended: &Ended) -> &str {
    assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{ended:?}");
    &ended.err
}

/// What one to standard output wrote.
fn done(ended: &Ended) -> &str {
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    &ended.out
}

fn objects_in(ended: &Ended) -> Vec<Value> {
    done(ended).split_terminator('\n').map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The rows that an export to standard output has, by their ids.
async fn by_id(stage: &Stage, arguments: &[&str]) -> BTreeMap<String, Value> {
    let ended = stage.run(&[&["export", "--format", "jsonl"], arguments].concat()).await;
    objects_in(&ended).into_iter().map(|row| (row["id"].as_str().unwrap().to_owned(), row)).collect()
}

/// A stage that was synced once, and needs no worker any more.
pub async fn synced() -> Stage {
    let stage = Stage::small().await;
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    let wide =
        async || stage.database.value::<bool>("select to_regclass('teamleader_views.contacts_wide') is not null").await;
    until("the views of custom fields are made", async || wide().await.then_some(())).await;
    worker.terminate().await;
    stage
}

/// What the account holds of the contacts, by their ids.
fn contacts(stage: &Stage) -> BTreeMap<String, Value> {
    let truth = stage.simulator.truth("contacts");
    let content = |json: &str| serde_json::from_str(&storable(json)).unwrap();
    truth.iter().map(|record| (record.id.to_string(), content(&record.content()))).collect()
}

async fn set_remarks(stage: &Stage, id: &str, remarks: &str) {
    let sql =
        "update teamleader.record set content = jsonb_set(content, '{remarks}', to_jsonb($2::text)) where id = $1";
    let set = sqlx::query(sql).bind(id.parse::<Uuid>().unwrap()).bind(remarks).execute(&stage.database.pool).await;
    assert_eq!(set.unwrap().rows_affected(), 1);
}

/// What there is in a directory besides a file.
pub fn beside(directory: &TempDir, file: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path != file).collect()
}

#[tokio::test]
async fn both_formats_tell_what_the_account_holds() {
    let stage = synced().await;
    let truth = contacts(&stage);
    let (header, rows) = csv(done(&stage.run(&["export", "contacts", "--format", "csv"]).await), ',');
    assert_eq!(header[..3], ["id", "account", "first_name"]);
    assert_eq!(rows.len(), truth.len());
    let objects = by_id(&stage, &["contacts"]).await;
    assert_eq!(objects.len(), truth.len());
    for row in rows {
        let id = row["id"].clone().unwrap();
        let (contact, object) = (&truth[&id], &objects[&id]);
        for (column, told) in [
            ("first_name", &contact["first_name"]),
            ("last_name", &contact["last_name"]),
            ("website", &contact["website"]),
            ("remarks", &contact["remarks"]),
            ("primary_address_city", &contact["primary_address"]["city"]),
        ] {
            assert_eq!((row[column].as_deref(), &object[column]), (told.as_str(), told), "{column} of {id}");
        }
        let consent = contact["marketing_mails_consent"].as_bool().map(|yes| if yes { "t" } else { "f" });
        assert_eq!(row["marketing_mails_consent"].as_deref(), consent);
        // Types are kept.
        assert_eq!(object["marketing_mails_consent"], contact["marketing_mails_consent"]);
        assert_eq!(object["tags"], contact["tags"]);
        assert_eq!(object["payment_term_days"], contact["payment_term"]["days"]);
    }
    let addresses = truth.values().map(|contact| contact["emails"].as_array().map_or(0, Vec::len)).sum::<usize>();
    let (_, rows) = csv(done(&stage.run(&["export", "contact_emails", "--format", "csv"]).await), ',');
    assert_eq!(rows.len(), addresses);
    let (header, rows) = csv(done(&stage.run(&["export", "contacts_wide", "--format", "csv"]).await), ',');
    assert_eq!(rows.len(), truth.len());
    assert!(header.iter().any(|column| column.starts_with("cf_")), "{header:?}");
    // By a resource's name.
    let definitions = by_id(&stage, &["customFieldDefinitions"]).await;
    assert_eq!(definitions.len(), stage.simulator.count("customFieldDefinitions"));
    let ended = stage.run(&["export", "projects-v2/projects", "--format", "csv", "-o", "-"]).await;
    assert_eq!(csv(done(&ended), ',').1, Vec::<Row>::new(), "the header alone");
    assert_eq!(done(&stage.run(&["export", "projects-v2/projects", "--format", "jsonl"]).await), "");
}

#[tokio::test]
async fn every_text_comes_out_as_it_went_in() {
    let stage = synced().await;
    let texts = [
        "\\ \\\\ \\n \\t \\u0041 \\x01 \\N",
        "\\.",
        "a\nb\r\nc\rd\te",
        "\"quoted\", \"\"; 'single' , ; |",
        "\u{2028}\u{2029}\u{85}\u{feff}\u{a0}é😀",
        "\u{1}\u{2}\u{1}\u{8}\u{c}\u{1f}\u{7f}",
        "",
        " ",
        "{\"a\": [1]}",
    ];
    let ids: Vec<String> = contacts(&stage).into_keys().collect();
    for (id, text) in ids.iter().zip(texts) {
        set_remarks(&stage, id, text).await;
    }
    let objects = by_id(&stage, &["contacts"]).await;
    let (_, rows) = csv(done(&stage.run(&["export", "contacts", "--format", "csv"]).await), ',');
    let rows: BTreeMap<String, Row> = rows.into_iter().map(|row| (row["id"].clone().unwrap(), row)).collect();
    for (id, text) in ids.iter().zip(texts) {
        assert_eq!((objects[id]["remarks"].as_str(), rows[id]["remarks"].as_deref()), (Some(text), Some(text)));
    }

    // A view of somebody else's, with a column that keeps its line ends, and none that says whose a row is.
    stage
        .database
        .execute("create view teamleader_views.mine as select e'{\"a\":\\r\\n \"\\\\n\\\\u0001\"}'::json as j")
        .await;
    let ended = stage.run(&["export", "mine", "--format", "jsonl"]).await;
    assert_eq!(objects_in(&ended), [json!({ "j": { "a": "\n\u{1}" } })]);
}

#[tokio::test]
async fn a_condition_chooses_among_the_rows_of_the_account() {
    let stage = synced().await;
    stage
        .database
        .execute(
            "insert into teamleader.record (resource, account, id, content, list_hash)
             select resource, 'another', id, content, list_hash from teamleader.record where resource in ('contacts', 'users')",
        )
        .await;
    let all = contacts(&stage);
    assert_eq!(by_id(&stage, &["contacts"]).await.len(), all.len());
    let another = by_id(&stage, &["contacts", "--account", "another"]).await;
    assert!(another.len() == all.len() && another.values().all(|contact| contact["account"] == "another"));

    let city = all.values().find_map(|contact| contact["primary_address"]["city"].as_str()).expect("a city");
    let there = all.values().filter(|contact| contact["primary_address"]["city"] == *city).count();
    let condition =
        format!("primary_address_city = '{}' and status = 'active' -- only those", city.replace('\'', "''"));
    let found = by_id(&stage, &["contacts", "--where", &condition]).await;
    let active = |contact: &&Value| contact["primary_address"]["city"] == *city && contact["status"] == "active";
    assert!(there > 0 && found.len() == all.values().filter(active).count(), "{found:?}");
    let condition = "contacts.id in (select contact_id from teamleader_views.contact_emails where email is not null)";
    let having = all.values().filter(|contact| contact["emails"].as_array().is_some_and(|list| !list.is_empty()));
    assert_eq!(by_id(&stage, &["contacts", "--where", condition]).await.len(), having.count());
    assert_eq!(by_id(&stage, &["contacts", "--where", "false or true"]).await.len(), all.len(), "in brackets");
    assert_eq!(by_id(&stage, &["contacts", "--where", "-1 > 0"]).await.len(), 0);
    // However long it takes, it is one moment's, and changes nothing.
    let condition = "current_setting('statement_timeout') = '0' and current_setting('idle_in_transaction_session_timeout') = '0'
        and current_setting('transaction_isolation') = 'repeatable read' and current_setting('transaction_read_only') = 'on'";
    assert_eq!(by_id(&stage, &["contacts", "--where", condition]).await.len(), all.len());
}

#[tokio::test]
async fn what_is_no_condition_is_refused_and_runs_nothing() {
    let stage = synced().await;
    let directory = tempfile::tempdir().unwrap();
    let (file, made) = (directory.path().join("out"), directory.path().join("made"));
    let name = file.to_str().unwrap();
    // As a superuser the server could write there.
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let to_file = format!("true)) to '{}' --", made.display());
    let to_program = format!("true)) to program 'touch {}' --", made.display());
    stage.database.execute("create table public.written (at timestamptz)").await;
    stage
        .database
        .execute("create function public.write() returns boolean language sql as 'insert into public.written values (now()) returning true'")
        .await;
    for (condition, said) in [
        ("", "syntax error"),
        ("statsu = 'active'", "column \"statsu\" does not exist (SQLSTATE 42703)"),
        ("status = 'active", "unterminated quoted string"),
        ("first_name", "must be type boolean"),
        ("true /* ", "unterminated /* comment"),
        ("id = 'x'", "invalid input syntax for type uuid"),
        ("count(*) > 1", "aggregate functions are not allowed in WHERE"),
        ("generate_series(1, 2) = 1", "set-returning functions are not allowed in WHERE"),
        ("id = $1", "there is no parameter $1"),
        ("true order by id", "syntax error"),
        ("true) or (true", "syntax error"),
        ("true) union all select * from teamleader_views.contacts where (true", "syntax error"),
        ("true; drop table public.written", "multiple commands"),
        ("true); drop table public.written; select (true", "syntax error"),
        ("true)) to stdout; drop table public.written --", "syntax error"),
        (&to_file, "syntax error"),
        (&to_program, "syntax error"),
        ("public.write()", "read-only transaction"),
        ("1 / (length(status) - length(status)) = 1", "division by zero"),
        ("id = (select id from teamleader_views.contacts)", "more than one row"),
    ] {
        for arguments in
            [&["contacts", "--format", "csv"][..], &["contacts", "--format", "jsonl"], &["--preset", "contacts"]]
        {
            let ended = stage.run(&[&["export", "--where", condition, "-o", name], arguments].concat()).await;
            assert_eq!(ended.code, 2, "{condition}: {ended:?}");
            assert!(ended.err.contains("--where: ") && ended.err.contains(said), "{condition}: {ended:?}");
            assert_eq!((ended.out.as_str(), beside(&directory, Path::new(""))), ("", vec![]), "{condition}");
        }
    }
    assert_eq!(stage.database.value::<i64>("select count(*) from public.written").await, 0, "it is there, and empty");
}

#[tokio::test]
async fn what_cannot_be_exported_is_told() {
    let mut stage = Stage::small().await.on_an_empty_database().await;
    let ended = stage.run(&["export", "contacts", "--format", "csv"]).await;
    assert!(ended.code == 1 && ended.err.contains("is DATABASE_URL right?"), "{ended:?}");
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    let sql = format!(
        "insert into teamleader2db.cursor (account, resource) values ('{}', 'contacts')",
        stage.setting("TEAMLEADER_ACCOUNT")
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&stage.database.pool).await.unwrap();
    let ended = stage.run(&["export", "contacts", "--format", "csv", "--account", "acne"]).await;
    let there =
        format!("there is no account \"acne\" in this copy, which has {}:", stage.setting("TEAMLEADER_ACCOUNT"));
    assert!(ended.code == 2 && ended.err.contains(&there) && ended.out.is_empty(), "{ended:?}");
    for (name, said) in [
        ("kontacts", "there is no view \"kontacts\" in schema teamleader_views: there are contacts"),
        ("emails", "contact_emails"),
        ("projects-v2/project", "there are projects_v2_projects, "),
        ("contacts_wide", "made at the end of a sync"),
        ("contacts\" where true; --", "there is no view"),
        ("zzz", "lists all"),
    ] {
        let ended = stage.run(&["export", name, "--format", "csv"]).await;
        assert!(ended.code == 2 && ended.err.contains(said) && ended.out.is_empty(), "{name}: {ended:?}");
    }
    for arguments in [
        &["contacts"][..],
        &["--format", "csv"],
        &["contacts", "--format", "xml"],
        &["--preset", "contacts", "--format", "csv"],
        &["contacts", "--preset", "contacts"],
    ] {
        assert_eq!(stage.run(&[&["export"], arguments].concat()).await.code, 2, "{arguments:?}");
    }
    let ended = stage.run(&["export", "contacts", "--format", "csv", "-o", "/nowhere/out.csv"]).await;
    assert!(ended.code == 1 && ended.err.contains("/nowhere/out.csv cannot be written"), "{ended:?}");
    stage.set("DATABASE_URL", "postgres://sync:hunter2@127.0.0.1:1/copy");
    let ended = stage.run(&["export", "contacts", "--format", "csv"]).await;
    assert!(ended.code == 1 && !ended.err.contains("hunter2"), "{ended:?}");
    assert!(ended.err.contains("PostgreSQL at 127.0.0.1:1: connection refused"), "{ended:?}");
}

#[tokio::test]
async fn a_role_that_may_only_read_the_views_exports_them() {
    let mut stage = synced().await;
    let reader = format!("r_{}", Uuid::new_v4().simple());
    let make = format!("create role {reader} login password 'reads' in role teamleader_reader");
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&stage.database.pool).await.unwrap();
    let (scheme, rest) = stage.database.url.split_once("://").unwrap();
    let place = rest.split_once('@').map_or(rest, |(_, place)| place);
    let url = format!("{scheme}://{reader}:reads@{place}");
    let earlier = stage.set("DATABASE_URL", &url);
    let count = stage.simulator.count("contacts");
    assert_eq!(by_id(&stage, &["contacts", "--where", "id is not null"]).await.len(), count);
    stage.database.execute("revoke select on teamleader_views.contacts from teamleader_reader").await;
    let ended = stage.run(&["export", "contacts", "--format", "csv", "--where", "true"]).await;
    assert!(ended.code == 1 && ended.err.contains("permission denied for view contacts"), "{ended:?}");
    assert!(!ended.err.contains("--where"), "the condition is not to blame: {ended:?}");
    stage.restore("DATABASE_URL", earlier);
    sqlx::raw_sql(AssertSqlSafe(format!("drop role {reader}"))).execute(&stage.database.pool).await.unwrap();
}

#[tokio::test]
async fn the_preset_is_what_the_python_service_wrote() {
    let stage = synced().await;
    stage.simulator.delete("contacts", 0);
    let mut truth = contacts(&stage);
    let ids: Vec<String> = truth.keys().cloned().collect();
    for (id, emails, telephones) in [
        (&ids[0], json!([]), json!(null)),
        (
            &ids[1],
            json!([{ "type": "invoicing", "email": "no@x.be" }, { "type": "primary", "email": "first@x.be" }, { "type": "primary", "email": "second@x.be" }]),
            json!([{ "type": "mobile", "number": "0477" }, { "type": "phone", "number": "09;1" }, { "type": "phone", "number": "09 2" }]),
        ),
    ] {
        let contact = truth.get_mut(id).unwrap();
        (contact["emails"], contact["telephones"]) = (emails, telephones);
        let set = sqlx::query("update teamleader.record set content = $2 where id = $1");
        set.bind(id.parse::<Uuid>().unwrap()).bind(&*contact).execute(&stage.database.pool).await.unwrap();
    }
    set_remarks(&stage, &ids[2], "one; \"two\"\nthree").await;
    truth.get_mut(&ids[2]).unwrap()["remarks"] = "one; \"two\"\nthree".into();
    // It is gone, or another account's.
    stage
        .database
        .execute(
            "insert into teamleader.record (resource, account, id, content, list_hash, deleted_at)
             select resource, a.name, case when a.name = 'another' then id else gen_random_uuid() end, content, list_hash,
                 case when a.name <> 'another' then now() end
             from teamleader.record cross join (select distinct account as name from teamleader.record union values ('another')) a
             where resource = 'contacts'",
        )
        .await;

    let first = |contact: &Value, list: &str, kind: &str, field: &str| {
        let mut of_kind = contact[list].as_array().into_iter().flatten().filter(|entry| entry["type"] == kind);
        of_kind.next().and_then(|entry| entry[field].as_str().map(str::to_owned))
    };
    let expected = |contact: &Value| {
        let text = |field: &str| contact[field].as_str().map(str::to_owned);
        let row: [(&str, Option<String>); 8] = [
            ("or_id", None),
            ("cp_name_catpro", None),
            ("email", first(contact, "emails", "primary", "email")),
            ("phone", first(contact, "telephones", "phone", "number")),
            ("website", text("website")),
            ("form_url", text("web_url")),
            ("description", text("remarks")),
            ("accountmanager", None),
        ];
        row.into_iter().map(|(column, value)| (column.to_owned(), value)).collect::<Row>()
    };
    let mut rows: Vec<Row> = truth.values().map(expected).collect();
    let ended = stage.run(&["export", "--preset", "contacts"]).await;
    assert!(
        ended.out.starts_with("or_id;cp_name_catpro;email;phone;website;form_url;description;accountmanager\n"),
        "{ended:?}"
    );
    // It takes the addresses of all at once: one contact's after the other would take hours, where there are many.
    let condition = "current_setting('enable_nestloop') = 'off'";
    let at_once = stage.run(&["export", "--preset", "contacts", "--where", condition]).await;
    rows.sort();
    for ended in [&ended, &at_once] {
        let mut written = csv(done(ended), ';').1;
        written.sort();
        assert_eq!(written, rows);
    }
    let condition = format!("id = '{}' and status is not null and account is not null", ids[1]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("contacts.csv");
    let ended =
        stage.run(&["export", "--preset", "contacts", "--where", &condition, "-o", file.to_str().unwrap()]).await;
    assert_eq!(said(&ended), format!("wrote 1 row to {}\n", file.display()));
    let written = csv(&std::fs::read_to_string(&file).unwrap(), ';').1;
    assert_eq!(written, [expected(&truth[&ids[1]])]);
    assert_eq!((written[0]["email"].as_deref(), written[0]["phone"].as_deref()), (Some("first@x.be"), Some("09;1")));
}

#[tokio::test]
async fn formulas_are_escaped_where_that_is_asked_for() {
    let stage = synced().await;
    let ids: Vec<String> = contacts(&stage).into_keys().collect();
    let texts =
        ["=HYPERLINK(\"http://evil.example\")", "@SUM(1)", "-1+1", "+32 475", "a=b", "-12.5", "\ttab", "=a;b,c"];
    let expected =
        ["'=HYPERLINK(\"http://evil.example\")", "'@SUM(1)", "'-1+1", "'+32 475", "a=b", "-12.5", "'\ttab", "'=a;b,c"];
    for (id, text) in ids.iter().zip(texts) {
        set_remarks(&stage, id, text).await;
    }
    for (arguments, separator, key, column) in [
        (&["contacts", "--format", "csv"][..], ',', "id", "remarks"),
        (&["--preset", "contacts"], ';', "form_url", "description"),
    ] {
        let rows = async |more: &[&str]| {
            let ended = stage.run(&[&["export"], arguments, more].concat()).await;
            let is_of = |row: &Row, id: &String| row[key].as_ref().is_some_and(|key| key.ends_with(id));
            let rows = csv(done(&ended), separator).1;
            let remarks = ids
                .iter()
                .map(|id| rows.iter().find(|row| is_of(row, id)).expect("a row")[column].clone().unwrap_or_default());
            remarks.take(texts.len()).collect::<Vec<_>>()
        };
        assert_eq!(rows(&[]).await, texts, "as it is, unless that is asked for");
        assert_eq!(rows(&["--escape-formulas"]).await, expected);
    }
    let ended = stage.run(&["export", "contacts", "--format", "jsonl", "--escape-formulas"]).await;
    assert!(ended.code == 2 && ended.err.contains("only CSV has formulas"), "{ended:?}");
}

#[tokio::test]
async fn many_rows_take_no_more_memory_than_a_few() {
    let stage = Stage::small().await;
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    let row = "insert into teamleader.record (resource, account, id, content, list_hash)
         values ('departments', 'acme', gen_random_uuid(), '{}', '\\x00')";
    assert_eq!(stage.database.execute(row).await, 1);
    let few = stage.run_measured(&["export", "departments", "--account", "acme", "--format", "csv"]).await;
    assert_eq!((few.code, few.lines), (0, 2), "{few:?}");
    stage
        .database
        .execute(
            "insert into teamleader.record (resource, account, id, content, list_hash)
             select 'tags', account, gen_random_uuid(), jsonb_build_object('tag', repeat(md5(n::text), 20)), '\\x00'
             from generate_series(1, 200000) n, (values ('acme')) a (account)",
        )
        .await;
    for (format, lines) in [("csv", 200_001), ("jsonl", 200_000)] {
        let used = stage.run_measured(&["export", "tags", "--account", "acme", "--format", format]).await;
        assert_eq!((used.code, used.lines), (0, lines), "{used:?}");
        assert!(used.bytes > 8 * MORE && used.peak < few.peak + MORE, "{used:?}, and for one row {few:?}");
    }
    // A reader that has seen enough.
    let ended = stage.run_for_a_line(&["export", "tags", "--account", "acme", "--format", "csv"]).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
}

/// So much more memory an export of many rows may take than one of a single row, in bytes.
const MORE: u64 = 16_000_000;
