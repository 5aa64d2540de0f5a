//! Random rows of a resource: all that are not marked deleted have the same probability, whatever their ids, their
//! number or their place.

use std::collections::HashSet;

use sqlx::PgPool;
use uuid::Uuid;

use super::chance::Chance;
use crate::catalog::{self, Resource};
use crate::ids::Account;
use crate::store::pool::StoreError;

/// Places that one statement looks at, for each row that is wanted: a block of 8 KiB has 291 places and holds some 3
/// to 30 rows.
const PLACES_PER_ROW: usize = 80;

/// Bounds of that number.
const PLACES: (usize, usize) = (500, 4_000);

/// So often it is tried to find as many as are wanted.
const TRIES: usize = 8;

/// Up to `count` rows. Places of the table are drawn until enough of them hold a row, so the costs follow from how
/// full its blocks are, and not from how many it has. Fewer come of a table that has fewer, or whose blocks are almost
/// empty.
pub async fn draw(
    pool: &PgPool,
    account: &Account,
    resource: &Resource,
    count: usize,
    chance: &mut Chance,
) -> Result<Vec<Uuid>, StoreError> {
    let table = format!("teamleader.{}", catalog::table(resource.name));
    let size = sqlx::query!(
        r#"select pg_relation_size(to_regclass($1)) / current_setting('block_size')::bigint as blocks,
             (current_setting('block_size')::bigint - 24) / 28 as "rows!""#,
        table,
    )
    .fetch_one(pool)
    .await?;
    let Some(blocks) = size.blocks.filter(|blocks| *blocks > 0) else { return Ok(Vec::new()) };
    let places = (count * PLACES_PER_ROW).clamp(PLACES.0, PLACES.1);
    let (mut drawn, mut known) = (Vec::new(), HashSet::new());
    for _ in 0..TRIES {
        let places = chance.places(places, blocks, size.rows);
        let places: Vec<String> = places.into_iter().map(|(block, row)| format!("({block},{row})")).collect();
        // By the parent, which needs no right to the table itself: of one resource, its places are those of that table.
        let ids = sqlx::query_scalar!(
            "select id from teamleader.record
             where resource = $1 and account = $2 and deleted_at is null and ctid = any($3::text[]::tid[]) order by id",
            resource.name,
            account.as_str(),
            &places,
        );
        let ids = ids.fetch_all(pool).await?;
        drawn.extend(ids.into_iter().filter(|id| known.insert(*id)));
        if drawn.len() >= count {
            break;
        }
    }
    Ok(chance.some_of(drawn, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::records::load::Loader;
    use crate::store::scratch::{Scratch, account, contact, contacts};

    #[tokio::test]
    async fn rows_of_all_kinds_of_places_are_drawn_and_no_others() {
        let scratch = Scratch::create(2).await;
        let items: Vec<_> = (1..=400).map(|id| contact(id, 1)).collect();
        scratch.merge(&mut Loader::default(), &items).await;
        for sql in [
            "update teamleader.contacts set deleted_at = now() where id <= '00000000-0000-0000-0000-000000000040'",
            "delete from teamleader.contacts where id > '00000000-0000-0000-0000-000000000150'",
            "insert into teamleader.contacts select (r).* from (select json_populate_record(r, \
             '{\"account\": \"other\"}') r from teamleader.contacts r) as others",
        ] {
            sqlx::query(sql).execute(&scratch.pool).await.expect("PostgreSQL does it");
        }
        let mut chance = Chance::of(Uuid::from_u128(1));
        let few = draw(&scratch.pool, &account(), contacts(), 5, &mut chance).await.expect("drawn");
        let others = draw(&scratch.pool, &account(), contacts(), 5, &mut chance).await.expect("drawn");
        assert!(few.len() == 5 && others.len() == 5 && few != others, "{few:?} and {others:?}");
        let mut all = HashSet::new();
        for _ in 0..3 {
            all.extend(draw(&scratch.pool, &account(), contacts(), 5_000, &mut chance).await.expect("drawn"));
        }
        let alive: HashSet<Uuid> = (0x41..=0x150).map(Uuid::from_u128).collect();
        assert!(all == alive, "{} of {}", all.len(), alive.len());
        let none = draw(&scratch.pool, &"nobody".parse().expect("a name"), contacts(), 5, &mut chance).await;
        assert!(none.expect("drawn").is_empty());
        scratch.drop().await;
    }
}
