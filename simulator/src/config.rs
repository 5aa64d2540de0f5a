//! What a simulator starts with.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::quirks::Quirks;
use crate::webhooks::Webhooks;

/// What a simulator starts with. The default is a small account for tests.
#[derive(Clone, Debug)]
pub struct Config {
    /// The same seed gives the same records, byte for byte.
    pub seed: u64,
    /// How many records of each resource; a resource that is missing has none.
    pub counts: BTreeMap<String, usize>,
    /// Resources whose list comes in pages although the blueprint shows none, which may be its silence.
    pub paged: BTreeSet<String>,
    /// Whether the account has the new projects, as `accounts.projects-v2-status` reports. The records of both kinds
    /// are there in any case.
    pub projects_v2: bool,
    /// The integration's client id.
    pub client_id: String,
    /// The integration's client secret.
    pub client_secret: String,
    /// The redirect URI that the integration is registered with. Without one any URI is accepted.
    pub redirect_uri: Option<String>,
    /// How long an access token works. The real one works for an hour.
    pub access_token_ttl: Duration,
    /// How many requests a client may make in any window. The real limit is 200.
    pub rate_limit: u32,
    /// The length of the window. The real one is 60 seconds.
    pub rate_window: Duration,
    /// How the API behaves where it is uncertain, or worse than its documentation.
    pub quirks: Quirks,
    /// How webhooks are delivered.
    pub webhooks: Webhooks,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            counts: SIZES.iter().map(|(resource, small, _)| ((*resource).to_owned(), *small)).collect(),
            paged: BTreeSet::new(),
            projects_v2: false,
            client_id: "client".to_owned(),
            client_secret: "secret".to_owned(),
            redirect_uri: None,
            access_token_ttl: Duration::from_secs(3600),
            rate_limit: 200,
            rate_window: Duration::from_secs(60),
            quirks: Quirks::default(),
            webhooks: Webhooks::default(),
        }
    }
}

impl Config {
    /// An account of the given number of contacts, and of everything else in proportion.
    pub fn scaled(contacts: usize) -> Self {
        let counts = SIZES.iter().map(|(resource, _, size)| {
            let count = match *size {
                Size::Fixed(count) => count,
                Size::Share(part, of) => contacts * part / of,
                Size::Users(each) => contacts.clamp(1, 25) * each,
            };
            ((*resource).to_owned(), count)
        });
        Self { counts: counts.collect(), ..Self::default() }
    }
}

/// How the number of records follows from the number of contacts.
enum Size {
    /// It does not.
    Fixed(usize),
    /// `Share(n, m)`: n records for every m contacts.
    Share(usize, usize),
    /// This many for each user, of whom there are 25 at most.
    Users(usize),
}

/// Resource, the number of its records in a small account, and that in one of a given size.
#[rustfmt::skip]
const SIZES: &[(&str, usize, Size)] = &[
    ("activityTypes", 5, Size::Fixed(8)),
    ("bookkeepingSubmissions", 4, Size::Share(1, 20)),
    ("businessTypes", 6, Size::Fixed(12)),
    ("callOutcomes", 4, Size::Fixed(6)),
    ("calls", 6, Size::Share(1, 10)),
    ("closingDays", 4, Size::Fixed(12)),
    ("commercialDiscounts", 3, Size::Fixed(5)),
    ("companies", 10, Size::Share(1, 2)),
    ("contacts", 20, Size::Share(1, 1)),
    ("creditNotes", 5, Size::Share(1, 20)),
    ("customFieldDefinitions", 54, Size::Fixed(54)),
    ("dayOffTypes", 3, Size::Fixed(6)),
    ("dealPhases", 5, Size::Fixed(10)),
    ("dealPipelines", 2, Size::Fixed(3)),
    ("dealSources", 4, Size::Fixed(8)),
    ("deals", 8, Size::Share(1, 2)),
    ("departments", 3, Size::Fixed(4)),
    ("documentTemplates", 6, Size::Fixed(15)),
    ("emailTracking", 8, Size::Share(1, 10)),
    ("events", 8, Size::Share(1, 4)),
    ("expenses", 9, Size::Share(1, 10)),
    ("files", 8, Size::Share(1, 10)),
    ("incomingCreditNotes.payments", 2, Size::Share(1, 50)),
    ("incomingInvoices.payments", 4, Size::Share(1, 20)),
    ("invoices", 10, Size::Share(1, 2)),
    ("levelTwoAreas", 6, Size::Fixed(15)),
    ("lostReasons", 4, Size::Fixed(8)),
    ("mailTemplates", 6, Size::Fixed(12)),
    ("meetings", 6, Size::Share(1, 10)),
    ("milestones", 6, Size::Share(1, 10)),
    ("notes", 8, Size::Share(1, 10)),
    ("orders", 6, Size::Share(1, 10)),
    ("paymentMethods", 3, Size::Fixed(6)),
    ("paymentTerms", 3, Size::Fixed(8)),
    ("plannableItems", 6, Size::Share(1, 10)),
    ("priceLists", 3, Size::Fixed(5)),
    ("productCategories", 3, Size::Fixed(10)),
    ("products", 6, Size::Share(1, 10)),
    ("projects", 6, Size::Share(1, 10)),
    ("projects-v2/materials", 4, Size::Share(1, 20)),
    ("projects-v2/projectGroups", 4, Size::Share(1, 20)),
    ("projects-v2/projectLines", 12, Size::Share(3, 20)),
    ("projects-v2/projects", 4, Size::Share(1, 20)),
    ("projects-v2/tasks", 6, Size::Share(1, 10)),
    ("quotations", 6, Size::Share(1, 4)),
    ("receipts.payments", 2, Size::Share(1, 50)),
    ("reservations", 8, Size::Share(1, 5)),
    ("subscriptions", 5, Size::Share(1, 20)),
    ("tags", 5, Size::Fixed(15)),
    ("tasks", 8, Size::Share(1, 2)),
    ("taxRates", 4, Size::Fixed(8)),
    ("teams", 3, Size::Fixed(6)),
    ("ticketStatus", 5, Size::Fixed(8)),
    ("tickets", 6, Size::Share(1, 10)),
    ("tickets.messages", 12, Size::Share(1, 5)),
    ("timeTracking", 12, Size::Share(1, 1)),
    ("unitsOfMeasure", 3, Size::Fixed(8)),
    ("users", 5, Size::Users(1)),
    ("userSchedules", 5, Size::Users(1)),
    ("users.daysOff", 8, Size::Users(4)),
    ("withholdingTaxRates", 3, Size::Fixed(4)),
    ("workTypes", 4, Size::Fixed(8)),
];
