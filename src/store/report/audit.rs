//! The always-on audit of an account, as every surface shows it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::catalog::{self, Resource};
use crate::ids::Account;
use crate::messages::distance;
use crate::store::draws::bound::Share;
use crate::store::draws::{Finding, Source};
use crate::store::pool::StoreError;

/// What the always-on audit has found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditState {
    /// Requests to the API within the last hour.
    pub requests_last_hour: i64,
    /// Requests to the API within the last 7 days.
    pub requests: i64,
    /// When the last turn was over.
    pub last_at: Option<DateTime<Utc>>,
    /// The resources of which records were drawn within the last 7 days.
    pub resources: Vec<AuditedResource>,
    /// The database's clock.
    #[serde(skip)]
    pub now: DateTime<Utc>,
}

/// What the always-on audit has found of a resource, over the newest draw of each record of the last 7 days.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AuditedResource {
    /// The resource.
    pub resource: String,
    /// Rows that differ although a pass should have seen it.
    pub wrong: Share,
    /// Records without a row although a pass should have seen them; null: no list gives all of them.
    pub missing: Option<Share>,
    /// Rows of records that have changed since the last pass.
    pub stale: Share,
}

impl AuditedResource {
    /// The share of a finding.
    pub fn share(&self, finding: Finding) -> Option<Share> {
        match finding {
            Finding::Wrong => Some(self.wrong),
            Finding::Missing => self.missing,
            Finding::Stale => Some(self.stale),
        }
    }
}

/// The share of a finding of which nothing was drawn; `None`: nothing ever is.
pub fn unknown_share(resource: &Resource, finding: Finding) -> Option<Share> {
    let sources = Source::of(resource);
    let is_drawn = match finding {
        Finding::Wrong | Finding::Stale => !sources.is_empty(),
        Finding::Missing => sources.contains(&Source::List),
    };
    is_drawn.then(|| Share::of(0, 0))
}

/// What was found; `None`: there was no audit within the last 7 days.
pub async fn audit(pool: &PgPool, account: &Account) -> Result<Option<AuditState>, StoreError> {
    let turns = sqlx::query!(
        r#"select coalesce(sum(requests), 0)::bigint as "requests!", max(at) as last_at, now() as "now!",
             coalesce(sum(requests) filter (where at > now() - interval '1 hour'), 0)::bigint as "last_hour!"
         from teamleader2db.audit_turn where account = $1 and at > now() - interval '7 days'"#,
        account.as_str(),
    );
    let turns = turns.fetch_one(pool).await?;
    let Some(last_at) = turns.last_at else { return Ok(None) };
    Ok(Some(AuditState {
        requests_last_hour: turns.last_hour,
        requests: turns.requests,
        // Of a turn that goes on it is when it is over at the latest.
        last_at: Some(last_at.min(turns.now)),
        resources: audited_resources(pool, account).await?,
        now: turns.now,
    }))
}

/// The resources of which records were drawn within the last 7 days, in the catalog's order.
pub async fn audited_resources(pool: &PgPool, account: &Account) -> Result<Vec<AuditedResource>, StoreError> {
    let rows = sqlx::query!(
        r#"select resource, count(*) filter (where source = 'rows') as "rows!",
             count(*) filter (where source = 'rows' and finding = 'wrong') as "rows_wrong!",
             count(*) filter (where source = 'rows' and finding = 'stale') as "rows_stale!",
             count(*) filter (where source = 'list') as "list!",
             count(*) filter (where source = 'list' and finding = 'wrong') as "list_wrong!",
             count(*) filter (where source = 'list' and finding = 'stale') as "list_stale!",
             count(*) filter (where source = 'list' and finding = 'missing') as "list_missing!"
         from teamleader2db.audit_draw where account = $1 and drawn_at > now() - interval '7 days'
         group by resource"#,
        account.as_str(),
    );
    let rows = rows.fetch_all(pool).await?;
    let audited = catalog::RESOURCES.iter().filter_map(|resource| {
        let row = rows.iter().find(|row| row.resource == resource.name)?;
        let of_rows = Source::of_rows(resource)?;
        let (drawn, wrong, stale) = match of_rows {
            Source::Rows => (row.rows, row.rows_wrong, row.rows_stale),
            Source::List => (row.list, row.list_wrong, row.list_stale),
        };
        let has_list = Source::of(resource).contains(&Source::List);
        Some(AuditedResource {
            resource: resource.name.to_owned(),
            wrong: Share::of(wrong, drawn),
            missing: has_list.then(|| Share::of(row.list_missing, row.list)),
            stale: Share::of(stale, drawn),
        })
    });
    Ok(audited.collect())
}

impl AuditState {
    /// How many records were found so, of how many that were drawn for it.
    pub fn total(&self, finding: Finding) -> (i64, i64) {
        let shares = self.resources.iter().filter_map(|resource| resource.share(finding));
        shares.fold((0, 0), |(found, drawn), share| (found + share.found, drawn + share.drawn))
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        let [wrong, missing, stale] = Finding::ALL.map(|finding| self.total(finding));
        let last = self.last_at.map_or_else(String::new, |at| format!(", the last {}", distance(at, self.now)));
        let mut parts = vec![
            format!("{} requests within 7 days{last}", self.requests),
            format!("of {} rows {} wrong, {} stale", wrong.1, wrong.0, stale.0),
            format!("of {} listed records {} missing", missing.1, missing.0),
        ];
        parts.extend(self.worst(Finding::Wrong).map(|worst| format!("at most {worst} are wrong")));
        parts.extend(self.worst(Finding::Missing).map(|worst| format!("at most {worst} are missing")));
        parts.join("; ")
    }

    /// The resource with the largest bound among those with such a finding, in words.
    fn worst(&self, finding: Finding) -> Option<String> {
        let found = self.resources.iter().filter_map(|of| Some((of, of.share(finding)?)));
        let worst = found.filter(|(_, share)| share.found > 0).max_by(|a, b| a.1.at_most.total_cmp(&b.1.at_most))?;
        Some(format!("{} of {}", percent(worst.1.at_most), worst.0.resource))
    }
}

/// A share from 0 to 1, in percent with two digits that count.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent >= 10.0 => format!("{percent:.0} %"),
        percent if percent >= 1.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.2} %"),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn what_was_found_is_a_sentence() {
        let now = Utc::now();
        let of = |resource: &str, wrong, missing| AuditedResource {
            resource: resource.to_owned(),
            wrong: Share::of(wrong, 300),
            missing: Some(Share::of(missing, 100)),
            stale: Share::of(1, 300),
        };
        let state = AuditState {
            requests_last_hour: 60,
            requests: 900,
            last_at: Some(now - TimeDelta::minutes(3)),
            resources: vec![of("contacts", 0, 0), of("deals", 0, 0)],
            now,
        };
        assert_eq!(
            state.sentence(),
            "900 requests within 7 days, the last 3 min ago; of 600 rows 0 wrong, 2 stale; of 200 listed records 0 \
             missing"
        );
        let found = AuditState { resources: vec![of("contacts", 1, 0), of("deals", 9, 30)], ..state };
        assert_eq!(
            found.sentence(),
            "900 requests within 7 days, the last 3 min ago; of 600 rows 10 wrong, 2 stale; of 200 listed records 30 \
             missing; at most 5.2 % of deals are wrong; at most 38 % of deals are missing"
        );
        assert_eq!([0.5, 0.025, 0.000_34].map(percent), ["50 %", "2.5 %", "0.03 %"]);
    }
}
