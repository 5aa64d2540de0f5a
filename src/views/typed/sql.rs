//! The SQL that makes the tables, and the functions and triggers that write them.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_128;

use super::table::{CHANGED_AT, SCHEMA, Table};
use crate::catalog::Resource;
use crate::views::names::{self, literal, quoted};
use crate::views::schema::foundation;

/// The end of the comment of a table that has a row for each that its view shows.
const COMPLETE: &str = " Complete.";

/// With the rights of its owner: who may write a record need not have any on these tables. Plans that are good at any
/// size of the tables, since one is made when they are empty and kept: rows by their key, changed rows by hashing.
const SETTINGS: &str = "language plpgsql security definer set search_path = pg_catalog, pg_temp set jit = off \
                        set enable_seqscan = off set enable_nestloop = off";

/// Makes a table, without any row.
pub(super) fn create(table: &Table) -> String {
    let columns = table.columns.iter().map(|column| {
        let needed = if table.key.contains(&column.name) { " not null" } else { "" };
        format!("    {} {}{needed}", quoted(&column.name), column.kind.as_sql())
    });
    let columns: Vec<String> = columns.collect();
    let mut sql = format!(
        "create table {} (\n{},\n    primary key ({})\n);\n",
        table.qualified(),
        columns.join(",\n"),
        list("", &table.key)
    );
    for column in table.indexed.iter().map(String::as_str).chain(table.has(CHANGED_AT).then_some(CHANGED_AT)) {
        sql.push_str(&format!("create index on {} ({});\n", table.qualified(), quoted(column)));
    }
    sql
}

/// Says what the table is, and whether it is complete.
pub(super) fn comment(table: &Table, is_complete: bool) -> String {
    let comment = format!(
        "Columns of teamleader_views.{}, which reads them here. Written by triggers on teamleader.{}. {}{}",
        table.name,
        names::table(table.resource.name),
        definition(table),
        if is_complete { COMPLETE } else { "" }
    );
    format!("comment on table {} is {};\n", table.qualified(), literal(&comment))
}

/// Whether a table with this comment is as this program makes it; and complete.
pub(super) fn is_current(table: &Table, comment: &str) -> (bool, bool) {
    let definition = definition(table);
    let complete = comment.strip_suffix(COMPLETE).is_some_and(|comment| comment.ends_with(&definition));
    (complete || comment.ends_with(&definition), complete)
}

/// A table with another one has other rows.
fn definition(table: &Table) -> String {
    digest(&format!("{}{}", create(table), insert(table, "", "")))
}

/// What distinguishes a text from others, in words.
pub(super) fn digest(text: &str) -> String {
    format!("Definition {:032x}.", xxh3_128(text.as_bytes()))
}

/// The functions that read values from JSON, which this schema has itself: nobody who drops a view stops a sync by it.
pub(super) fn readers() -> String {
    let readers = foundation().split_once("create function").map_or("", |(_, rest)| rest);
    in_schema(&format!("create function{readers}")).replace("create function", "create or replace function")
}

/// SQL over the functions of schema `teamleader_views` as SQL over those of this schema.
fn in_schema(sql: &str) -> String {
    sql.replace("teamleader_views.as_", &format!("{SCHEMA}.as_"))
}

/// Writes the rows of a table from `rows`, called `r`, of which a condition holds.
pub(super) fn insert(table: &Table, rows: &str, condition: &str) -> String {
    let names: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
    format!("insert into {} as t ({}) {}", table.qualified(), list("", &names), select(table, rows, condition))
}

/// Reads them.
fn select(table: &Table, rows: &str, condition: &str) -> String {
    let read = table.columns.iter().map(|column| format!("({})::{}", column.expression, column.kind.as_sql()));
    let living = if table.is_of_list() { " and r.deleted_at is null" } else { "" };
    in_schema(&format!(
        "select {} from {rows} r {} where r.resource = {} and {condition}{living}",
        read.collect::<Vec<_>>().join(", "),
        table.within,
        literal(table.resource.name)
    ))
}

/// Column names, each after this.
fn list(before: &str, names: &[String]) -> String {
    names.iter().map(|name| format!("{before}{}", quoted(name))).collect::<Vec<_>>().join(", ")
}

/// The functions and triggers that write the tables.
pub(super) fn follow(tables: &[Table]) -> String {
    let mut of_resources: BTreeMap<&str, Vec<&Table>> = BTreeMap::new();
    for table in tables {
        of_resources.entry(table.resource.name).or_default().push(table);
    }
    let all: Vec<&[&Table]> = of_resources.values().map(Vec::as_slice).collect();
    let mut sql = readers() + &differences(tables) + &refill(tables) + &forget(&all);
    sql.push_str(&function("follow", &all));
    sql.push_str(&triggers("teamleader.record", "follow"));
    for of_resource in all {
        let resource: &Resource = of_resource[0].resource;
        let table = names::table(resource.name);
        let (name, on) = (format!("follow_{table}"), format!("teamleader.{}", quoted(&table)));
        sql.push_str(&function(&name, &[of_resource]));
        sql.push_str(&triggers(&on, &name));
        // Truncating fires only what is on the very table: each partition has its own.
        sql.push_str(&format!(
            "create or replace trigger typed_truncate after truncate on {on} for each statement execute function \
             {SCHEMA}.{name}({});\n",
            literal(resource.name)
        ));
    }
    sql
}

/// How many triggers that makes: three on the partitioned table, and four on each that has typed columns.
pub(super) fn triggers_of(tables: &[Table]) -> usize {
    let resources: BTreeSet<&str> = tables.iter().map(|table| table.resource.name).collect();
    3 + 4 * resources.len()
}

fn triggers(on: &str, function: &str) -> String {
    let one = |event: &str, tables: &str| {
        format!(
            "create or replace trigger typed_{event} after {event} on {on} referencing {tables} for each statement \
             execute function {SCHEMA}.{function}();\n"
        )
    };
    one("insert", "new table as written")
        + &one("update", "old table as former new table as written")
        + &one("delete", "old table as former")
}

/// Says which tables have other rows than the documents give: where triggers were disabled, or rows loaded without
/// them.
fn differences(tables: &[Table]) -> String {
    let branches = tables.iter().map(|table| {
        let names: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
        let (stored, rows) = (list("t.", &names), format!("teamleader.{}", quoted(&names::table(table.resource.name))));
        let read = select(table, &rows, "true");
        format!(
            "select {}, count(*) from ((select {stored} from {q} t except all {read}) union all ({read} except all \
             select {stored} from {q} t)) d having count(*) > 0",
            literal(&table.name),
            q = table.qualified()
        )
    });
    let branches: Vec<String> = branches.collect();
    format!(
        "create or replace function {SCHEMA}.differences() returns table (\"table\" text, \"rows\" bigint) \
         language sql stable set search_path = pg_catalog, pg_temp set jit = off as $function$\n{}\n$function$;\n\
         comment on function {SCHEMA}.differences() is 'The tables that have other rows than the documents give: where \
         triggers were disabled, or rows loaded without them.';\n",
        branches.join("\nunion all\n")
    )
}

/// Writes those tables again, while nobody writes records.
fn refill(tables: &[Table]) -> String {
    let branches = tables.iter().map(|table| {
        let rows = format!("teamleader.{}", quoted(&names::table(table.resource.name)));
        format!(
            "when {} then\ndelete from {};\n{};\n",
            literal(&table.name),
            table.qualified(),
            insert(table, &rows, "true")
        )
    });
    format!(
        "create or replace function {SCHEMA}.refill() returns void language plpgsql set search_path = pg_catalog, \
         pg_temp set jit = off as $function$
declare
    it record;
begin
lock table teamleader.record in share row exclusive mode;
for it in select * from {SCHEMA}.differences() loop
case it.\"table\"
{}end case;
end loop;
end
$function$;
comment on function {SCHEMA}.refill() is 'Writes the tables of differences() again. Writers wait, readers do not.';
",
        branches.collect::<String>()
    )
}

/// A branch a resource.
fn by_resource(resource: &str, all: &[&[&Table]], branch: impl Fn(&[&Table]) -> String) -> String {
    let branches =
        all.iter().map(|tables| format!("when {} then\n{}", literal(tables[0].resource.name), branch(tables)));
    format!("case {resource}\n{}else null;\nend case;\n", branches.collect::<String>())
}

/// Takes away the rows of records that are there no more.
fn forget(all: &[&[&Table]]) -> String {
    let delete = |tables: &[&Table]| {
        let of_table = |table: &&Table| {
            let id = quoted(&table.key[0]);
            format!("delete from {} t where t.account = of_account and t.{id} = any(ids);\n", table.qualified())
        };
        tables.iter().map(of_table).collect()
    };
    format!(
        "create or replace function {SCHEMA}.forget(of_resource text, of_account text, ids uuid[]) returns void \
         {SETTINGS} as $function$\nbegin\n{}end\n$function$;\n",
        by_resource("of_resource", all, delete)
    )
}

/// What the triggers call: `written` has the rows as they are now, `former` as they were.
fn function(name: &str, all: &[&[&Table]]) -> String {
    let delete_all = |tables: &[&Table]| -> String {
        tables.iter().map(|table| format!("delete from {};\n", table.qualified())).collect()
    };
    format!(
        "create or replace function {SCHEMA}.{name}() returns trigger {SETTINGS} as $function$
declare
    it record;
{changed}begin
if tg_op = 'TRUNCATE' then
{truncated}return null;
end if;
if tg_op = 'DELETE' then
    perform {SCHEMA}.forget(resource, account, array_agg(id)) from former group by resource, account;
    return null;
end if;
if tg_op = 'UPDATE' then
    perform {SCHEMA}.forget(o.resource, o.account, array_agg(o.id))
    from former o left join written n on n.resource = o.resource and n.account = o.account and n.id = o.id
    where n.id is null group by o.resource, o.account;
end if;
for it in select resource, account, array_agg(id) as ids from written group by resource, account loop
{written}end loop;
return null;
end
$function$;
comment on function {SCHEMA}.{name}() is 'Writes the typed columns of records that are written.';
",
        changed = (1..=all.iter().map(|tables| lists_of(tables)).max().unwrap_or(0))
            .map(|number| format!("    changed{number} uuid[];\n"))
            .collect::<String>(),
        truncated = by_resource("tg_argv[0]", all, delete_all),
        written = by_resource("it.resource", all, write),
    )
}

/// How many tables of lists there are.
fn lists_of(tables: &[&Table]) -> usize {
    tables.iter().filter(|table| table.is_of_list()).count()
}

/// Writes the rows of the tables of a resource for records of `it.account`: those of a list only where it has changed.
fn write(tables: &[&Table]) -> String {
    let (lists, records): (Vec<&Table>, Vec<&Table>) = tables.iter().partition(|table| table.is_of_list());
    let mut sql: String = records.into_iter().map(write_records).collect();
    if lists.is_empty() {
        return sql;
    }
    let named = |before: &str| -> Vec<String> { (1..=lists.len()).map(|number| format!("{before}{number}")).collect() };
    let has_changed = lists.iter().map(|table| {
        let [is, was] = ["n.content", "o.content"].map(|content| table.list.replace("r.content", content));
        format!(
            "array_agg(n.id) filter (where o.id is null or {is} is distinct from {was}
            or (n.deleted_at is null) <> (o.deleted_at is null))"
        )
    });
    let changed = named("changed").join(", ");
    sql.push_str(&format!(
        "if tg_op = 'INSERT' then
    select {} into {changed};
else
    select {}
    into {changed} from written n
    left join former o on o.resource = n.resource and o.account = n.account and o.id = n.id
    where n.resource = it.resource and n.account = it.account;
end if;
",
        vec!["it.ids"; lists.len()].join(", "),
        has_changed.collect::<Vec<_>>().join(", ")
    ));
    for (table, changed) in lists.iter().zip(named("changed")) {
        sql.push_str(&format!(
            "if {changed} is not null then
    delete from {} t where t.account = it.account and t.{} = any({changed});
    {};
end if;
",
            table.qualified(),
            quoted(&table.key[0]),
            insert(table, "written", &format!("r.account = it.account and r.id = any({changed})"))
        ));
    }
    sql
}

fn write_records(table: &Table) -> String {
    let names: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
    let (is, was) = (list("excluded.", &names), list("t.", &names));
    format!(
        "{} on conflict ({}) do update set ({}) = ({is}) where ({was}) is distinct from ({is});\n",
        insert(table, "written", "r.account = it.account"),
        list("", &table.key),
        list("", &names)
    )
}
