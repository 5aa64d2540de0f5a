//! The tables of the resources: one each, a partition of `teamleader.record`.

use sqlx::{Connection, PgConnection};

use crate::catalog::{self, RESOURCES, Resource};

/// The resources that have no table yet: those that a newer program knows and the database does not.
pub async fn missing(connection: &mut PgConnection) -> sqlx::Result<Vec<&'static Resource>> {
    let tables = sqlx::query_scalar!(
        r#"select c.relname::text as "name!" from pg_inherits i join pg_class c on c.oid = i.inhrelid
         where i.inhparent = to_regclass('teamleader.record')"#
    );
    let tables = tables.fetch_all(connection).await?;
    Ok(RESOURCES.iter().filter(|resource| !tables.contains(&catalog::table(resource.name))).collect())
}

/// Makes them. Two processes at once are no harm: one waits for the other.
pub async fn make(connection: &mut PgConnection) -> sqlx::Result<()> {
    let mut tx = connection.begin().await?;
    sqlx::query("select pg_advisory_xact_lock(hashtext('teamleader.add_resource'))").execute(&mut *tx).await?;
    for resource in missing(&mut tx).await? {
        sqlx::query!(
            "select teamleader.add_resource($1, detailed => $2, child => $3)",
            resource.name,
            resource.has_details(),
            !resource.parents().is_empty(),
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}
