use super::*;

fn contacts() -> &'static Resource {
    crate::catalog::find("contacts").expect("known")
}

/// A list that is read by page number: its records need no `updated_at`.
fn departments() -> &'static Resource {
    crate::catalog::find("departments").expect("known")
}

#[test]
fn a_page_is_split_into_records() {
    let id = Uuid::new_v4();
    let record = format!(r#"{{"id":"{id}","updated_at":"2016-02-05T16:44:33+00:00","n":1.50}}"#);
    let meta = r#"{"page":{"size":1,"number":1},"matches":7}"#;
    let body = format!(r#"{{"data":[{record}],"meta":{meta}}}"#);
    let page = parse_list(contacts(), body.as_bytes()).expect("valid");
    assert_eq!(page.matches, Some(7));
    assert_eq!(page.records[0].id, id);
    assert!(page.records[0].json.contains("1.50"), "numbers stay as they were written");
    assert_eq!(page.records[0].updated_at.map(|t| t.timestamp()), Some(1_454_690_673));
}

#[test]
fn what_no_list_can_hold_counts_as_if_nothing_was_said_and_is_reported() {
    let page =
        |meta: &str| parse_list(contacts(), format!(r#"{{"data":[],"meta":{meta}}}"#).as_bytes()).expect("a page");
    for plausible in [0, 7, MAX_MATCHES] {
        let page = page(&format!(r#"{{"matches":{plausible}}}"#));
        assert_eq!((page.matches, page.type_mismatches.len()), (Some(plausible), 0));
    }
    for silent in ["{}", "null", r#"{"matches":null}"#, r#"{"page":7}"#] {
        let page = page(silent);
        assert_eq!((page.matches, page.type_mismatches.len()), (None, 0), "{silent}");
    }
    for odd in ["-1", "1000000001", "9223372036854775807", "1e400", "1.5", "\"7\"", "[]", "{}"] {
        let page = page(&format!(r#"{{"matches":{odd}}}"#));
        assert_eq!((page.matches, page.type_mismatches.len()), (None, 1), "{odd}");
    }
    assert_eq!(page("[]").matches, None);
}

#[test]
fn a_record_with_a_number_beyond_all_is_stored_and_named() {
    let id = Uuid::new_v4();
    let body = format!(r#"{{"data":[{{"id":"{id}","x":1e200000,"digits":{}}}]}}"#, "1".repeat(40));
    let page = parse_list(departments(), body.as_bytes()).expect("valid");
    assert!(page.records[0].json.contains(&format!(r#""x":"1e200000","digits":{}}}"#, "1".repeat(40))));
    assert!(drift(&page.records).iter().any(|odd| odd.starts_with(&id.to_string())), "{:?}", drift(&page.records));
}

#[test]
fn a_time_has_four_digits_of_a_year() {
    for odd in ["+262142-12-31T23:59:59+0000", "-0001-01-01T00:00:00+0000", "+10000-01-01T00:00:00+0000"] {
        assert_eq!(parse_time(odd), None, "{odd}");
    }
    assert!(parse_time("0000-01-01T00:00:00+00:00").is_some() && parse_time("9999-12-31T23:59:59+0000").is_some());
}

#[test]
fn records_are_split_however_the_page_is_written() {
    let id = Uuid::new_v4();
    let written = [
        format!(r#"{{"id":"{id}"}}"#),
        format!("{{ \t\"id\"\n: \"{id}\" , \"a{{\":\"}}]\\\"\"\r\n}}"),
        format!(r#"{{"{{":{{"}}":[{{}}]}},"id":"{id}","last":{{}}}}"#),
        format!(r#"{{"\u007b":1,"b\"":"}}","id":"{id}"}}"#),
    ];
    let page = format!("{{\n\"meta\": {{\"matches\": 4}}, \"data\" : [\n{}\n] }}", written.join(" ,\n "));
    let page = parse_list(departments(), page.as_bytes()).expect("valid");
    let texts: Vec<&str> = page.records.iter().map(|record| &*record.json).collect();
    assert_eq!(texts, written, "as they are written");
    assert_eq!(page.matches, Some(4));
}

#[test]
fn a_broken_page_is_an_error_that_shows_nothing_of_it() {
    for body in [
        r#"{"data":[{"id":"se"#,
        "<html>secret</html>",
        r#"{"data":"secret"}"#,
        r#"{"data":{"name":"secret"}}"#,
        "{}",
        "[]",
    ] {
        let error = parse_list(contacts(), body.as_bytes()).expect_err(body);
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn a_record_may_be_nested_so_deep_and_no_deeper() {
    let record = |levels: usize| {
        let value = format!(r#"{}"[\\\"[["{}"#, "[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"data":[{{"id":"{}","a":{value}}},{{"id":"{}"}}]}}"#, Uuid::new_v4(), Uuid::new_v4())
    };
    let read = |levels| parse_list(departments(), record(levels).as_bytes()).expect("a page");
    assert_eq!(read(MAX_NESTING - 1).records.len(), 2);
    for levels in [MAX_NESTING, 1_000_000] {
        let page = read(levels);
        assert_eq!((page.records.len(), page.len()), (1, 2));
        let Rejected { reason, has_id, .. } = &page.rejected[0];
        assert!(*has_id && reason.contains("nested deeper than 128"), "{reason}");
    }
}

#[test]
fn a_record_that_cannot_be_read_costs_no_other_and_keeps_its_id() {
    let (bad, good) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let sound = format!(r#"{{"id":"{good}","updated_at":"2016-02-05T16:44:33+00:00"}}"#);
    let page = |record: &str| {
        let body = format!(r#"{{"data":[{record},{sound},{record}],"meta":{{"matches":3}}}}"#);
        parse_list(contacts(), body.as_bytes()).expect("a page")
    };
    for updated_at in [r#""""#, "null", r#""0000-00-00T00:00:00+00:00""#, r#""secret""#, "7", "{}", "[\"secret\"]"] {
        let page = page(&format!(r#"{{"id":"{bad}","updated_at":{updated_at},"name":"secret"}}"#));
        assert_eq!((page.records.len(), page.len(), page.matches), (1, 3, Some(3)), "{updated_at}");
        assert_eq!(page.ids().collect::<Vec<_>>(), [good, bad, bad], "{updated_at}");
        let rejected = &page.rejected[0];
        assert!(rejected.has_id && rejected.reason.contains("updated_at"), "{rejected:?}");
        assert!(!rejected.reason.contains("secret"), "{rejected:?}");
    }
    for record in [r#""secret""#, "null", "7", "[]", "{}", r#"{"id":null}"#, r#"{"id":"secret"}"#, r#"{"\u0069d":7}"#] {
        let (one, again) = (page(record), page(record));
        assert_eq!((one.records.len(), one.len(), one.matches), (1, 3, Some(3)), "{record}");
        assert_eq!(one.rejected, again.rejected, "the same text has the same id");
        let ids: BTreeSet<Uuid> = one.ids().collect();
        assert_eq!(ids.len(), 3, "equal ones are two: {record}");
        assert!(one.rejected.iter().all(|rejected| !rejected.has_id && !rejected.reason.contains("secret")));
    }
}

#[test]
fn an_answer_of_countless_records_or_fields_takes_no_more_memory_than_its_bounds() {
    let list = |record: &str, times: usize| {
        let records = vec![record; times].join(",");
        parse_list(departments(), format!(r#"{{"data":[{records}]}}"#).as_bytes())
    };
    for nameless in ["null", "{}", r#"{"a":1}"#] {
        let page = list(nameless, MAX_NAMELESS).expect("a page");
        assert_eq!(page.ids().collect::<BTreeSet<Uuid>>().len(), MAX_NAMELESS, "each has an id of its own: {nameless}");
        let refused = list(nameless, 100_000).expect_err(nameless);
        assert!(refused.contains("more than 1000 of its records have no id"), "{refused}");
    }
    let sound = format!(r#"{{"id":"{}"}}"#, Uuid::from_u128(1));
    assert_eq!(list(&sound, MAX_RECORDS).expect("a page").len(), MAX_RECORDS);
    let refused = list(&sound, MAX_RECORDS + 1).expect_err("too many");
    assert!(refused.contains("more than 50000 records"), "{refused}");

    let fields = |count: usize| format!(r#"{{"id":"{}"{}}}"#, Uuid::from_u128(1), r#","a":1"#.repeat(count - 1));
    assert_eq!(list(&fields(MAX_FIELDS), 1).expect("a page").records.len(), 1);
    for many in [fields(MAX_FIELDS + 1), fields(1_000_000)] {
        let page = list(&many, 1).expect("a page");
        assert_eq!((page.records.len(), page.rejected[0].has_id), (0, false));
        assert!(parse_info(departments(), format!(r#"{{"data":{many}}}"#).as_bytes()).is_err());
    }
    let long = format!(r#"{{"id":"{}","a":[{}0]}}"#, Uuid::from_u128(1), "0,".repeat(MAX_RECORD / 2));
    let page = list(&long, 1).expect("a page");
    let rejected = &page.rejected[0];
    assert!(rejected.has_id && rejected.id == Uuid::from_u128(1), "{rejected:?}");
    assert!(rejected.reason.contains("longer than 4194304 bytes"), "{rejected:?}");
}

#[test]
fn of_a_detail_it_is_known_whether_the_answer_or_the_record_is_bad() {
    let id = Uuid::from_u128(1);
    for body in ["", "{\"data\":{\"id\":", "<html>", "[]", "7"] {
        assert!(matches!(parse_info(contacts(), body.as_bytes()), Err(Unreadable::Answer(_))), "{body}");
    }
    for record in [format!(r#"{{"id":"{id}","updated_at":""}}"#), "{}".to_owned(), r#"{"id":"x"}"#.to_owned()] {
        let body = format!(r#"{{"data":{record}}}"#);
        assert!(matches!(parse_info(contacts(), body.as_bytes()), Err(Unreadable::Record(_))), "{body}");
    }
}

#[test]
fn an_info_answer_is_read_with_and_without_envelope() {
    let id = Uuid::new_v4();
    let bare = format!(r#"{{"id":"{id}","name":"x"}}"#);
    let wrapped = format!(r#"{{"data":{bare}}}"#);
    assert_eq!(parse_info(contacts(), bare.as_bytes()), parse_info(contacts(), wrapped.as_bytes()));
    assert_eq!(parse_info(contacts(), bare.as_bytes()).expect("valid").0.json, bare);
}

#[test]
fn both_forms_of_a_time_are_read() {
    let expected = parse_time("2021-06-15T09:51:23.035+00:00");
    assert!(expected.is_some());
    assert_eq!(parse_time("2021-06-15T10:51:23.035+0100"), expected);
}

#[test]
fn what_differs_from_the_blueprint_is_noticed() {
    let id = Uuid::new_v4();
    let record = |rest: &str| format!(r#"{{"id":"{id}","updated_at":"2016-02-05T16:44:33+00:00"{rest}}}"#);
    let page = |records: &[String]| {
        let body = format!(r#"{{"data":[{}]}}"#, records.join(","));
        parse_list(contacts(), body.as_bytes()).expect("valid").records
    };
    let records = page(&[record(r#","first_name":7,"tags":null"#), record(r#","last_name":"Smith""#)]);
    let drift = drift(&records);
    assert!(drift.contains("first_name is a number, not text"), "{drift:?}");
    assert!(drift.contains("emails is missing"), "{drift:?}");
    assert!(!drift.iter().any(|what| what.starts_with("last_name") || what.starts_with("tags")), "{drift:?}");
    let has_come = |records: &[Record]| {
        let texts: Vec<&str> = records.iter().map(|record| record.json.as_str()).collect();
        Shapes::of(contacts()).list.has_come("custom_fields", &missing_fields(records), &texts)
    };
    assert!(!has_come(&records) && !has_come(&[]));
    assert!(has_come(&page(&[record(r#","custom_fields":[]"#), record("")])));
}
