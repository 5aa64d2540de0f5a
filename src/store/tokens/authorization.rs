//! Who authorized an account, and how a new authorization replaces an old one.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{PgConnection, PgPool};
use tracing::warn;
use uuid::Uuid;

use super::Tokens;
use crate::api_client::oauth::{Authorizer, TokenPair};
use crate::ids::{Account, Generation};
use crate::messages::Event;
use crate::store::hints::registration;
use crate::store::lease;
use crate::store::outbox;
use crate::store::pool::{self, StoreError};

/// The state of an account's authorization, as far as it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorization {
    /// Whether a worker may run.
    pub authorized: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Who authorized.
    pub authorized_by: Option<String>,
    /// Teamleader's id of the account, once known.
    pub teamleader_account: Option<Uuid>,
}

/// Who started an authorization, and so who may end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartedBy {
    /// A browser that was given a cookie: no other may.
    Browser,
    /// Somebody who may read the link: all who have it may end it.
    Command,
    /// Somebody unknown, since no token is required: all who have the link may end it.
    Anyone,
}

impl StartedBy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Command => "command",
            Self::Anyone => "anyone",
        }
    }
}

/// Whether a state can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateUse {
    /// It is used up now.
    Accepted,
    /// It belongs to another browser, and is as it was.
    OtherBrowser,
    /// It was never given out for this account, was used, or is too old.
    Unknown,
}

/// What a new authorization meets.
#[derive(Debug)]
pub struct Standing {
    /// The stored pair's.
    pub generation: Generation,
    /// Whether a worker may run.
    pub is_authorized: bool,
    /// Teamleader's id of the account, once known.
    pub teamleader_account: Option<Uuid>,
    /// Whether the token that is given is the stored one, which a worker may trade at any moment.
    pub holds_it: bool,
}

/// How a new authorization ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Stored as the next generation.
    Stored,
    /// It is for another Teamleader account than the stored one.
    OtherAccount {
        /// The stored one.
        wanted: Uuid,
        /// The other.
        came: Uuid,
    },
}

/// Why an account without any token is not authorized.
const NEVER_AUTHORIZED: &str = "the account was never authorized";

/// The most states that wait for their browser or command to come back; of more the oldest is forgotten. Each kind has
/// its own, so that a user who opens the link without a token cannot push out those of the command.
const MOST_STATES: i64 = 100;

/// What a transaction that changes an authorization has to know of it.
struct TokenRow {
    is_new: bool,
    is_authorized: bool,
    generation: Generation,
    has_refresh_token: bool,
    teamleader_account: Option<Uuid>,
    /// Who authorized last, as far as it is known.
    last_authorizer: Option<String>,
}

/// How long a state of an authorization is good for, as SQL takes it; more than the code's 10 minutes, for slow logins.
const STATE_SECONDS: f64 = 3600.0;

impl Tokens {
    /// Makes sure that the account has a row, and takes `first` as its first refresh token where it has none. Where it
    /// still has none, the operator has to authorize, and an event reports that, once.
    pub async fn ensure_account_row(&self, first: Option<&SecretString>) -> Result<(), StoreError> {
        let mut tx = pool::begin(&self.pool).await?;
        let row = self.lock_row(&mut tx).await?;
        match first {
            Some(first) if !row.has_refresh_token => self.put_refresh_token(&mut tx, row.generation, first).await?,
            None if row.is_new => {
                let event = Event::authorization_required(&self.account, row.generation.0, NEVER_AUTHORIZED);
                outbox::put(&mut tx, &self.account, &event, &[]).await?;
            }
            _ => {}
        }
        tx.commit().await?;
        Ok(())
    }

    /// Whether the keys open the stored refresh token.
    pub async fn check_key(&self) -> Result<(), StoreError> {
        self.stored_refresh_token().await.map(drop)
    }

    /// What a new authorization meets. Makes the account's row, where there is none, and so proves that the database
    /// can be written before a token is used up.
    pub async fn standing(&self, given: &SecretString) -> Result<Standing, StoreError> {
        let mut tx = pool::begin(&self.pool).await?;
        let row = self.lock_row(&mut tx).await?;
        tx.commit().await?;
        let stored = match self.stored_refresh_token().await {
            // A new authorization is how an account goes on whose key is lost.
            Err(StoreError::Sealed(_)) => None,
            stored => stored?,
        };
        Ok(Standing {
            generation: row.generation,
            is_authorized: row.is_authorized,
            teamleader_account: row.teamleader_account,
            holds_it: stored.is_some_and(|stored| stored.expose_secret() == given.expose_secret()),
        })
    }

    async fn stored_refresh_token(&self) -> Result<Option<SecretString>, StoreError> {
        let stored = sqlx::query!(
            r#"select generation, refresh_token as "refresh_token!" from teamleader2db.oauth_token
             where account = $1 and refresh_token is not null and state <> 'reauthorization_required'"#,
            self.account.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = stored else { return Ok(None) };
        Ok(Some(self.open(&row.refresh_token, "refresh", Generation(row.generation))?))
    }

    /// The state of the authorization, as far as it may be shown.
    pub async fn authorization(&self) -> Result<Authorization, StoreError> {
        authorization(&self.pool, &self.account).await
    }

    /// A new random state for the authorize link; works once, for an hour.
    pub async fn new_state(&self, by: StartedBy) -> Result<String, StoreError> {
        let state = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        sqlx::query!(
            "with old as (
                 delete from teamleader2db.oauth_state
                 where created_at < now() - make_interval(secs => $3)
                    or account = $2 and started_by = $4 and created_at <= (
                        select created_at from teamleader2db.oauth_state
                        where account = $2 and started_by = $4 order by created_at desc offset $5 limit 1))
             insert into teamleader2db.oauth_state (state, account, started_by) values ($1, $2, $4)",
            state,
            self.account.as_str(),
            STATE_SECONDS,
            by.as_str(),
            MOST_STATES - 1,
        )
        .execute(&self.pool)
        .await?;
        Ok(state)
    }

    /// Uses up a state. `has_cookie`: whether it came back with the cookie that was set for it.
    pub async fn use_state(&self, state: &str, has_cookie: bool) -> Result<StateUse, StoreError> {
        let used = sqlx::query!(
            "delete from teamleader2db.oauth_state
             where state = $1 and account = $2 and created_at > now() - make_interval(secs => $3)
               and (started_by <> 'browser' or $4)",
            state,
            self.account.as_str(),
            STATE_SECONDS,
            has_cookie,
        )
        .execute(&self.pool)
        .await?;
        if used.rows_affected() == 1 {
            return Ok(StateUse::Accepted);
        }
        let is_of_another = sqlx::query_scalar!(
            r#"select exists (
                 select from teamleader2db.oauth_state
                 where state = $1 and account = $2 and created_at > now() - make_interval(secs => $3)
                   and started_by = 'browser' and not $4) as "is_of_another!""#,
            state,
            self.account.as_str(),
            STATE_SECONDS,
            has_cookie,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(if is_of_another { StateUse::OtherBrowser } else { StateUse::Unknown })
    }

    /// Stores the pair of a new authorization as the next generation, whatever the state. Needs no epoch. Without `by`
    /// it is asked whose it is before the next list.
    pub async fn authorize(&self, pair: &TokenPair, by: Option<&Authorizer>) -> Result<Accepted, StoreError> {
        let mut tx = pool::begin(&self.pool).await?;
        if by.is_none() {
            // A slice that is under way would use it before it is known whose it is. The lease first, as everybody
            // locks.
            lease::bump_epoch(&mut tx, &self.account).await?;
        }
        let row = self.lock_row(&mut tx).await?;
        if let (Some(known), Some(by)) = (row.teamleader_account, by)
            && known != by.account
        {
            return Ok(Accepted::OtherAccount { wanted: known, came: by.account });
        }
        let generation = Generation(row.generation.0 + 1);
        let lifetime = pair.expires_in.as_secs_f64();
        sqlx::query!(
            "update teamleader2db.oauth_token
             set generation = $2, state = 'authorized', access_token = $3, refresh_token = $4,
                 access_expires_at = clock_timestamp() + make_interval(secs => $5), access_lifetime = $5,
             teamleader_account = coalesce($6, teamleader_account), authorized_by = $7,
                     previously_authorized_by = $8,
                 attempt_id = null, attempt_deadline = null, reason = null, updated_at = now()
             where account = $1",
            self.account.as_str(),
            generation.0,
            self.seal(&pair.access, "access", generation)?,
            self.seal(&pair.refresh, "refresh", generation)?,
            lifetime,
            by.map(|by| by.account),
            by.map(|by| by.name.as_str()),
            row.last_authorizer.as_deref().filter(|_| by.is_none()),
        )
        .execute(&mut *tx)
        .await?;
        if let Some(by) = by {
            self.report_change(&mut tx, generation, row.last_authorizer.as_deref(), by).await?;
        }
        // Another integration or user may not have what was registered for webhooks.
        registration::ask_again(&mut tx, &self.account).await?;
        tx.commit().await?;
        Ok(Accepted::Stored)
    }

    /// Another person than before: an event and the log report it.
    async fn report_change(
        &self,
        tx: &mut PgConnection,
        generation: Generation,
        before: Option<&str>,
        by: &Authorizer,
    ) -> Result<(), StoreError> {
        let Some(before) = before.filter(|before| *before != by.name) else { return Ok(()) };
        warn!(by = by.name, before, "Another person than before has authorized the account");
        let event = Event::authorization_changed(&self.account, generation.0, &by.name, before);
        outbox::put(tx, &self.account, &event, &[]).await
    }

    /// Stores a refresh token given by hand as the next generation; the worker trades it for a pair when it needs one.
    pub async fn authorize_with_refresh_token(&self, refresh: &SecretString) -> Result<(), StoreError> {
        self.give(refresh, |_| true).await.map(drop)
    }

    /// Stores a refresh token that another program leaves to this one, unless the account is authorized: its own may be
    /// the newer one. Whether it was stored.
    #[cfg_attr(not(feature = "compat"), expect(dead_code, reason = "only `compat` takes a token over"))]
    pub async fn take_over(&self, refresh: &SecretString) -> Result<bool, StoreError> {
        self.give(refresh, |row| !row.is_authorized).await
    }

    async fn give(&self, refresh: &SecretString, may: impl Fn(&TokenRow) -> bool) -> Result<bool, StoreError> {
        let mut tx = pool::begin(&self.pool).await?;
        // A slice that is under way would use it before it is known whose it is. The lease first, as everybody locks.
        lease::bump_epoch(&mut tx, &self.account).await?;
        let row = self.lock_row(&mut tx).await?;
        if !may(&row) {
            return Ok(false);
        }
        self.put_refresh_token(&mut tx, row.generation, refresh).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Whether it still has to be found out whose token this is: one that was given by hand, or whose `users.me`
    /// failed.
    pub async fn owner_is_unknown(&self) -> Result<bool, StoreError> {
        let open = sqlx::query_scalar!(
            r#"select authorized_by is null as "open!" from teamleader2db.oauth_token where account = $1"#,
            self.account.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(open == Some(true))
    }

    /// Stores whose token it is. One of another Teamleader account is not used: the operator has to authorize, and an
    /// event reports that.
    pub async fn confirm_identity(&self, by: &Authorizer) -> Result<Accepted, StoreError> {
        let mut tx = pool::begin(&self.pool).await?;
        let row = self.lock_row(&mut tx).await?;
        let other = row.teamleader_account.filter(|account| *account != by.account);
        if other.is_some() {
            let reason = "the token that was given belongs to another Teamleader account";
            let set = sqlx::query!(
                "update teamleader2db.oauth_token
                 set state = 'reauthorization_required', reason = $2, attempt_id = null, attempt_deadline = null,
                     updated_at = now()
                 where account = $1 and authorized_by is null",
                self.account.as_str(),
                reason,
            )
            .execute(&mut *tx)
            .await?;
            if set.rows_affected() == 1 {
                let event = Event::authorization_required(&self.account, row.generation.0, reason);
                outbox::put(&mut tx, &self.account, &event, &[]).await?;
            }
        } else {
            let set = sqlx::query!(
                "update teamleader2db.oauth_token
                 set teamleader_account = $2, authorized_by = $3, previously_authorized_by = null, updated_at = now()
                 where account = $1 and authorized_by is null",
                self.account.as_str(),
                by.account,
                by.name,
            )
            .execute(&mut *tx)
            .await?;
            if set.rows_affected() == 1 {
                self.report_change(&mut tx, row.generation, row.last_authorizer.as_deref(), by).await?;
            }
        }
        tx.commit().await?;
        Ok(match other {
            Some(wanted) => Accepted::OtherAccount { wanted, came: by.account },
            None => Accepted::Stored,
        })
    }

    /// The account's row, made where there is none, locked until the transaction ends.
    async fn lock_row(&self, tx: &mut PgConnection) -> Result<TokenRow, StoreError> {
        let inserted = sqlx::query!(
            "insert into teamleader2db.oauth_token (account, state, reason) values ($1, 'reauthorization_required', $2)
             on conflict do nothing",
            self.account.as_str(),
            NEVER_AUTHORIZED,
        )
        .execute(&mut *tx)
        .await?;
        let row = sqlx::query!(
            r#"select generation, state, refresh_token is not null as "has_refresh_token!", teamleader_account,
                 coalesce(authorized_by, previously_authorized_by) as last_authorizer
             from teamleader2db.oauth_token where account = $1 for update"#,
            self.account.as_str()
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok(TokenRow {
            is_new: inserted.rows_affected() == 1,
            is_authorized: is_authorized(&row.state),
            generation: Generation(row.generation),
            has_refresh_token: row.has_refresh_token,
            teamleader_account: row.teamleader_account,
            last_authorizer: row.last_authorizer,
        })
    }

    /// Writes a refresh token without an access token as the generation after `last`. The row is locked by the caller.
    async fn put_refresh_token(
        &self,
        tx: &mut PgConnection,
        last: Generation,
        refresh: &SecretString,
    ) -> Result<(), StoreError> {
        let generation = Generation(last.0 + 1);
        sqlx::query!(
            "update teamleader2db.oauth_token
             set generation = $2, state = 'authorized', refresh_token = $3, access_token = null,
             access_expires_at = null,
                 authorized_by = null, previously_authorized_by = coalesce(authorized_by, previously_authorized_by),
                 attempt_id = null, attempt_deadline = null, reason = null, updated_at = now()
             where account = $1",
            self.account.as_str(),
            generation.0,
            self.seal(refresh, "refresh", generation)?,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// Whether a worker may run in this state.
fn is_authorized(state: &str) -> bool {
    state != "reauthorization_required"
}

/// The state of an account's authorization, as far as it may be shown.
pub async fn authorization(pool: &PgPool, account: &Account) -> Result<Authorization, StoreError> {
    let row = sqlx::query!(
        "select state, reason, authorized_by, teamleader_account from teamleader2db.oauth_token where account = $1",
        account.as_str()
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map_or(
        Authorization {
            authorized: false,
            reason: Some(NEVER_AUTHORIZED.to_owned()),
            authorized_by: None,
            teamleader_account: None,
        },
        |row| Authorization {
            authorized: is_authorized(&row.state),
            reason: row.reason,
            authorized_by: row.authorized_by,
            teamleader_account: row.teamleader_account,
        },
    ))
}
