//! Rows whose record goes by another id now: it has got one, or the fields that identify it are written as they are.
//! They keep their history, and go by the new id.

use std::collections::HashSet;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::api_client::answer::Record;
use crate::store::pool::StoreError;
use crate::store::runs::StepKey;

/// Gives the rows of these records the ids that the API gives them now, where a row is there under the id that was made
/// for it before, and none under the new one. Of several records for one row the first has it. A row that the run has
/// met under its former id keeps it: it is another record's. Returns how many rows there were.
///
/// History follows, as it is that of the same record; a reader that follows `changed_at` sees the row under its new id.
pub async fn by_new_ids(tx: &mut PgConnection, step: StepKey<'_>, records: &[Record]) -> Result<usize, StoreError> {
    let StepKey { account, run, resource } = step;
    let met: HashSet<Uuid> = records.iter().map(|record| record.id).collect();
    let (mut seen, mut pairs) = (HashSet::new(), Vec::new());
    for record in records {
        let former = resource.former_id(&record.json).filter(|former| !met.contains(former));
        if let Some(former) = former
            && !seen.contains(&record.id)
            && seen.insert(former)
        {
            seen.insert(record.id);
            pairs.push((former, record.id));
        }
    }
    if pairs.is_empty() {
        return Ok(0);
    }
    let (former, new): (Vec<Uuid>, Vec<Uuid>) = pairs.into_iter().unzip();
    let moved = sqlx::query!(
        r#"update teamleader.record as r set id = p.new, changed_at = clock_timestamp()
         from unnest($3::uuid[], $4::uuid[]) as p (former, new)
         where r.resource = $1 and r.account = $2 and r.id = p.former
           and not exists (select from teamleader.record k where k.resource = $1 and k.account = $2 and k.id = p.new)
           and not exists (
               select from teamleader2db.sync_page met
               where met.account = $2 and met.run_id = $5 and met.resource = $1 and met.pass > 0
                   and p.former = any(met.ids))
         returning p.former as "former!", p.new as "new!""#,
        resource.name,
        account.as_str(),
        &former,
        &new,
        run.0,
    )
    .fetch_all(&mut *tx)
    .await?;
    let (former, new): (Vec<Uuid>, Vec<Uuid>) = moved.into_iter().map(|row| (row.former, row.new)).unzip();
    if !former.is_empty() {
        sqlx::query!(
            "update teamleader.record_history as h set id = p.new from unnest($3::uuid[], $4::uuid[]) as p (former, new)
             where h.resource = $1 and h.account = $2 and h.id = p.former",
            resource.name,
            account.as_str(),
            &former,
            &new,
        )
        .execute(tx)
        .await?;
    }
    Ok(former.len())
}
