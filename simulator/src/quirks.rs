//! How the simulated API behaves where it is uncertain, or where it is worse than its documentation: one switch each.

use std::collections::BTreeSet;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::generate::{Dice, fingerprint};
use crate::version::Version;

/// The switches. The default is the API as it was seen in 2026, and where nobody saw it, the worst that is plausible.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// The dated version that answers a request without `X-Api-Version`.
    #[arg(long, env = "SIMULATOR_PINNED_VERSION", default_value_t = Version::OLDEST)]
    pub pinned_version: Version,
    /// Which lists say how many records match, where `includes` asks for `pagination`.
    #[arg(long, env = "SIMULATOR_MATCHES", default_value = "declared")]
    pub matches: Matches,
    /// What comes of an order that a list does not have, as `asc` of files.
    #[arg(long, env = "SIMULATOR_WRONG_ORDER", default_value = "refuse")]
    pub wrong_order: WrongOrder,
    /// No list goes beyond this many records.
    #[arg(long, env = "SIMULATOR_PAGE_CEILING", value_name = "RECORDS")]
    pub page_ceiling: Option<usize>,
    /// Pages have twenty records, whatever is asked for.
    #[arg(long, env = "SIMULATOR_PAGE_SIZE_IGNORED")]
    #[arg(value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub page_size_ignored: bool,
    /// Records that are equal for the asked sort come in another order with every request.
    #[arg(long, env = "SIMULATOR_UNSTABLE_ORDER", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub unstable_order: bool,
    /// The share of the fields that are null or absent where they may be, from 0 to 1.
    #[arg(long, env = "SIMULATOR_SPARSE", default_value_t = 0.0, value_name = "SHARE")]
    pub sparse: f64,
    /// How customFieldDefinitions names the contexts of deals, tasks and calls.
    #[arg(long, env = "SIMULATOR_CONTEXTS", default_value = "live")]
    pub contexts: Contexts,
    /// What the items of an error have.
    #[arg(long, env = "SIMULATOR_ERROR_ITEMS", default_value = "usual")]
    pub error_items: ErrorItems,
    /// Resources of modules that are not in the customer's plan: 403.
    #[arg(long, env = "SIMULATOR_MODULES_OFF", value_name = "RESOURCE", value_delimiter = ',')]
    pub modules_off: Vec<String>,
    /// How `X-RateLimit-Reset` is written.
    #[arg(long, env = "SIMULATOR_RESET_FORM", default_value = "seconds")]
    pub reset_form: ResetForm,
    /// By how many seconds the `Date` of every answer is later than it should be.
    #[arg(
        long,
        env = "SIMULATOR_DATE_OFFSET_SECONDS",
        default_value_t = 0,
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub date_offset_seconds: i64,
    /// How a dead refresh token is refused.
    #[arg(long, env = "SIMULATOR_REFUSAL_FORM", default_value = "code8")]
    pub refusal_form: RefusalForm,
    /// Lists show the account as it was this many seconds ago; `.info` as it is.
    #[arg(long, env = "SIMULATOR_LIST_LAG_SECONDS", default_value_t = 0, value_name = "SECONDS")]
    pub list_lag_seconds: u64,
    /// commercialDiscounts show no id, as before July 2026.
    #[arg(long, env = "SIMULATOR_DISCOUNTS_WITHOUT_IDS")]
    #[arg(value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub discounts_without_ids: bool,
    /// Every second of the commercialDiscounts has the name and the department of the one before.
    #[arg(long, env = "SIMULATOR_EQUAL_DISCOUNTS")]
    #[arg(value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub equal_discounts: bool,
    /// Whether the integration has the scope of webhooks; without it their endpoints answer 403.
    #[arg(long, env = "SIMULATOR_WEBHOOKS_SCOPE", default_value_t = true, action = ArgAction::Set)]
    pub webhooks_scope: bool,
}

/// Which lists say how many records match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Matches {
    /// Those that declare it, and companies and deals, which do it live; contacts never.
    Declared,
    /// All that have pages.
    Everywhere,
    /// None.
    Nowhere,
}

/// What comes of an order that a list does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum WrongOrder {
    /// 400.
    Refuse,
    /// The order that it has.
    Ignore,
}

/// How customFieldDefinitions names the contexts of deals, tasks and calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Contexts {
    /// `sale`, `todo`, `callback`.
    Live,
    /// `deal`, `task`, `call`.
    Documented,
}

/// What the items of an error have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum ErrorItems {
    /// All members; `key` and `status` alone from planning.
    Usual,
    /// No title.
    WithoutTitle,
    /// No status.
    WithoutStatus,
    /// `key` and `status` alone.
    Key,
}

/// How `X-RateLimit-Reset` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum ResetForm {
    /// `2026-02-08T11:09:08+00:00`, cut off to whole seconds.
    Seconds,
    /// `2021-06-15T10:51:23.035+0100`.
    Milliseconds,
}

/// How a dead refresh token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum RefusalForm {
    /// 400, code 8 and type `invalid_request`.
    Code8,
    /// 400, code 8 and type `invalid_grant`.
    InvalidGrant,
    /// 400, `error: invalid_grant` without the envelope of the API.
    BareInvalidGrant,
    /// 401 and code 8.
    Unauthorized,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            pinned_version: Version::OLDEST,
            matches: Matches::Declared,
            wrong_order: WrongOrder::Refuse,
            page_ceiling: None,
            page_size_ignored: false,
            unstable_order: false,
            sparse: 0.0,
            contexts: Contexts::Live,
            error_items: ErrorItems::Usual,
            modules_off: Vec::new(),
            reset_form: ResetForm::Seconds,
            date_offset_seconds: 0,
            refusal_form: RefusalForm::Code8,
            list_lag_seconds: 0,
            discounts_without_ids: false,
            equal_discounts: false,
            webhooks_scope: true,
        }
    }
}

impl Quirks {
    /// Quirks that the seed chooses among those with which a copy can still become equal to the account: no list ends
    /// early, nothing is refused as a whole, and the names of a record's fields stay.
    pub fn random(seed: u64) -> Self {
        let mut dice = Dice::new(&[seed, fingerprint(&["quirks"])]);
        let mut one = |choices: u64| dice.below(choices) as usize;
        Self {
            matches: [Matches::Declared, Matches::Everywhere, Matches::Nowhere][one(3)],
            wrong_order: [WrongOrder::Refuse, WrongOrder::Ignore][one(2)],
            unstable_order: one(4) == 0,
            sparse: [0.0, 0.05, 0.3][one(3)],
            contexts: [Contexts::Live, Contexts::Documented][one(2)],
            error_items: [ErrorItems::Usual, ErrorItems::WithoutTitle, ErrorItems::WithoutStatus, ErrorItems::Key]
                [one(4)],
            reset_form: [ResetForm::Seconds, ResetForm::Milliseconds][one(2)],
            date_offset_seconds: [0, 1, -1, 600, -600, 86_400, -86_400, 2_300_000_000][one(8)],
            refusal_form: [
                RefusalForm::Code8,
                RefusalForm::InvalidGrant,
                RefusalForm::BareInvalidGrant,
                RefusalForm::Unauthorized,
            ][one(4)],
            list_lag_seconds: [0, 0, 1, 5][one(4)],
            equal_discounts: one(2) == 0,
            ..Self::default()
        }
    }

    /// These quirks with some members of a JSON object in their places.
    ///
    /// # Errors
    ///
    /// The fault of the members.
    pub(crate) fn with(&self, members: serde_json::Map<String, serde_json::Value>) -> Result<Self, String> {
        let mut all = serde_json::to_value(self).map_err(|error| error.to_string())?;
        if let Some(all) = all.as_object_mut() {
            all.extend(members);
        }
        let quirks: Self = serde_json::from_value(all).map_err(|error| format!("The body does not fit: {error}."))?;
        quirks.checked()
    }

    /// The quirks, if they make sense.
    ///
    /// # Errors
    ///
    /// If a share is none, or a resource is unknown.
    pub fn checked(self) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&self.sparse) {
            return Err(format!("sparse is a share from 0 to 1, and not {}.", self.sparse));
        }
        let known: BTreeSet<&str> = crate::contract::endpoints()
            .keys()
            .filter_map(|name| name.rsplit_once('.').map(|(resource, _)| resource))
            .chain(crate::contract::resources())
            .collect();
        match self.modules_off.iter().find(|resource| !known.contains(resource.as_str())) {
            Some(unknown) => Err(format!("There is no resource {unknown}.")),
            None => Ok(self),
        }
    }

    /// Whether the endpoint belongs to a module that is not in the customer's plan, or to a scope that is missing.
    pub(crate) fn is_off(&self, endpoint: &str) -> bool {
        if !self.webhooks_scope && crate::contract::belongs_to(endpoint, "webhooks") {
            return true;
        }
        self.modules_off.iter().any(|resource| crate::contract::belongs_to(endpoint, resource))
    }
}
