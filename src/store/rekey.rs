//! Rows whose record has got an id: they keep their history, and go by the new id.

use sqlx::PgConnection;
use uuid::Uuid;

use super::pool::StoreError;
use crate::catalog::Resource;
use crate::ids::Account;
use crate::teamleader::answer::Record;

/// Gives the rows of these records the ids that the API gives them now, where a row is there under the id that was made for it before, and
/// none under the new one. Of several records for one row the first has it. Returns how many rows there were.
///
/// History follows, as it is that of the same record; whoever follows `changed_at` sees the row under its new id.
pub async fn by_new_ids(
    tx: &mut PgConnection,
    account: &Account,
    resource: &Resource,
    records: &[Record],
) -> Result<u64, StoreError> {
    let mut pairs: Vec<(Uuid, Uuid)> = Vec::new();
    for record in records {
        let former = resource.former_id(&record.json).filter(|former| *former != record.id);
        if let Some(former) = former.filter(|former| pairs.iter().all(|(known, _)| known != former)) {
            pairs.push((former, record.id));
        }
    }
    if pairs.is_empty() {
        return Ok(0);
    }
    let (former, new): (Vec<Uuid>, Vec<Uuid>) = pairs.into_iter().unzip();
    let moved = sqlx::query!(
        "update teamleader.record as r set id = p.new, changed_at = clock_timestamp()
         from unnest($3::uuid[], $4::uuid[]) as p (former, new)
         where r.resource = $1 and r.account = $2 and r.id = p.former
           and not exists (select from teamleader.record k where k.resource = $1 and k.account = $2 and k.id = p.new)",
        resource.name,
        account.as_str(),
        &former,
        &new,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if moved > 0 {
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
    Ok(moved)
}
