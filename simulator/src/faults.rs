//! Faults on demand: what goes wrong, where, from when and how often.

use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::contract;
use crate::generate::{Dice, fingerprint};
use crate::oddity::Oddity;
use crate::version::Version;

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Where: an endpoint such as `contacts.list` or `oauth2/access_token`, or a resource such as `contacts` for all
    /// its endpoints. Without one, everywhere.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// How many matching requests come through unharmed before it begins.
    #[serde(default)]
    pub skip: u32,
    /// How many requests it hits. Without a number it goes on until the faults are cleared.
    #[serde(default)]
    pub times: Option<u32>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// The answer is right and comes late. Other faults can come on top.
    Latency {
        /// How late.
        milliseconds: u64,
    },
    /// An error of the server with a JSON body.
    ServerError {
        /// 500 to 599.
        status: u16,
    },
    /// An error of a gateway before the server, with an HTML body.
    ServerErrorHtml {
        /// 500 to 599.
        status: u16,
    },
    /// The request is read and not carried out, and the connection is closed without a byte of an answer.
    CutBeforeAnswer,
    /// The answer is cut in half, and `Content-Length` fits the half: only the JSON shows it.
    TruncatedJson,
    /// The connection is closed in the middle of the body.
    CutMidBody,
    /// The body comes in small pieces.
    SlowBody {
        /// How long the whole body takes.
        milliseconds: u64,
    },
    /// The request is read and never answered; the connection stays open.
    Hang,
    /// 429 although the window has room. The request counts.
    RateLimited {
        /// When `X-RateLimit-Reset` says that a request can succeed; without it, when the window says so.
        #[serde(default)]
        reset_in_ms: Option<u64>,
    },
    /// The answer is right, and its `Date` is of another time.
    Date {
        /// How many seconds later; earlier if negative.
        seconds: i64,
    },
    /// The answer is right, and compressed with gzip, although nobody may have asked for it.
    Gzip,
    /// An answer that is small as long as it is compressed with gzip, and is `bytes` long then: white space before the
    /// right answer.
    GzipBomb {
        /// How many bytes.
        bytes: u64,
    },
    /// 403, as for a missing scope or a module that is not in the customer's plan.
    Forbidden,
    /// A right answer whose `X-RateLimit-Reset` lies in the past.
    ResetInThePast {
        /// How long ago.
        seconds: u32,
    },
    /// 404 of a gateway that knows no such path, without `X-Api-Version`.
    #[serde(rename = "edge_404")]
    Edge404,
    /// A page of a gateway, as HTML with status 200.
    #[serde(rename = "html_200")]
    Html200,
    /// The answer is in the shape of another version than was asked for, and says so.
    OtherVersion {
        /// Which.
        version: Version,
    },
    /// A list is empty.
    EmptyList,
    /// A list ends after this many records, and says that these are all.
    Capped {
        /// How many.
        records: usize,
    },
    /// Pages have twenty records, whatever is asked for.
    PageSizeIgnored,
    /// A list says another number of matches.
    WrongMatches {
        /// Which.
        matches: u64,
    },
    /// No include brings its fields.
    IncludesIgnored,
    /// A list is as it was before this many changes of its records.
    Lagging {
        /// How many.
        changes: usize,
    },
    /// One record is broken, in lists and in `.info`. It is the same one until the fault ends.
    OddRecord {
        /// Its fault.
        odd: Oddity,
        /// Which one; without it the first request chooses, and from then on it stands here.
        #[serde(default)]
        id: Option<Uuid>,
    },
    /// `.info` of one record is an error of the server. It is the same one until the fault ends.
    BrokenInfo {
        /// 500 to 599.
        status: u16,
        /// Which one; without it the first that is asked for, and from then on it stands here.
        #[serde(default)]
        id: Option<Uuid>,
    },
    /// The token endpoint does its work, the old refresh token is dead, and the connection is closed without an answer.
    /// Hits `oauth2/access_token` alone.
    LoseTokenAnswer,
}

impl FaultKind {
    /// One fault of every kind, with the numbers of a test that does not wait long.
    pub fn samples() -> Vec<Self> {
        let mut all = vec![
            Self::Latency { milliseconds: 20 },
            Self::ServerError { status: 500 },
            Self::ServerErrorHtml { status: 502 },
            Self::CutBeforeAnswer,
            Self::TruncatedJson,
            Self::CutMidBody,
            Self::SlowBody { milliseconds: 20 },
            Self::Hang,
            Self::RateLimited { reset_in_ms: Some(20) },
            Self::Date { seconds: 86_400 },
            Self::Gzip,
            Self::GzipBomb { bytes: 64 << 20 },
            Self::Forbidden,
            Self::ResetInThePast { seconds: 10 },
            Self::Edge404,
            Self::Html200,
            Self::OtherVersion { version: Version::OLDEST },
            Self::EmptyList,
            Self::Capped { records: 10 },
            Self::PageSizeIgnored,
            Self::WrongMatches { matches: u64::MAX },
            Self::IncludesIgnored,
            Self::Lagging { changes: 5 },
            Self::BrokenInfo { status: 500, id: None },
            Self::LoseTokenAnswer,
        ];
        all.extend(Oddity::ALL.map(|odd| Self::OddRecord { odd, id: None }));
        all
    }

    /// One of [`FaultKind::samples`], which the seed chooses.
    pub fn random(seed: u64) -> Self {
        let mut all = Self::samples();
        let place = Dice::new(&[seed, fingerprint(&["fault"])]).below(all.len() as u64);
        all.swap_remove(place as usize)
    }

    /// Whether the endpoint does its work, and the answer, or a part of it, is not sent.
    pub(crate) fn loses_the_answer(&self) -> bool {
        matches!(self, Self::LoseTokenAnswer | Self::TruncatedJson | Self::CutMidBody)
    }
}

impl FaultKind {
    /// Whether what the answer shows reaches a client, which may read no more than it has room for.
    pub(crate) fn leaves_the_answer(&self) -> bool {
        !self.loses_the_answer() && !matches!(self, Self::GzipBomb { .. })
    }
}

impl Fault {
    /// A fault everywhere, until the faults are cleared.
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, endpoint: None, skip: 0, times: None }
    }

    /// Only at this endpoint or resource.
    #[must_use]
    pub fn at(mut self, endpoint: &str) -> Self {
        self.endpoint = Some(endpoint.to_owned());
        self
    }

    /// Only this many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Not before this many matching requests have come through.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    fn matches(&self, endpoint: &str) -> bool {
        let fits = match self.kind {
            FaultKind::LoseTokenAnswer => endpoint == "oauth2/access_token",
            FaultKind::EmptyList
            | FaultKind::Capped { .. }
            | FaultKind::PageSizeIgnored
            | FaultKind::WrongMatches { .. }
            | FaultKind::Lagging { .. } => contract::resource_of(endpoint).is_some(),
            FaultKind::BrokenInfo { .. } => endpoint.ends_with(".info"),
            FaultKind::OddRecord { .. } => endpoint.ends_with(".info") || contract::resource_of(endpoint).is_some(),
            _ => true,
        };
        if !fits {
            return false;
        }
        self.endpoint.as_deref().is_none_or(|wanted| contract::belongs_to(endpoint, wanted))
    }
}

/// The faults that wait for their requests.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

/// What goes wrong with one request.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// How long to wait first.
    pub(crate) latency: Duration,
    /// What goes wrong then.
    pub(crate) kind: Option<FaultKind>,
    /// Records that are broken, whatever else goes wrong.
    pub(crate) records: Vec<FaultKind>,
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.lock().push(fault);
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn list(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// What goes wrong with this request. Every latency that matches adds up; of the rest the oldest one hits, and the
    /// others neither hit nor count down.
    ///
    /// `chosen` gives the record that a fault of one record hits, if none is named yet. Faults of records add up, too.
    pub(crate) fn strike(&self, endpoint: &str, chosen: impl Fn() -> Option<Uuid>) -> Trouble {
        let mut trouble = Trouble::default();
        let mut faults = self.lock();
        for fault in faults.iter_mut().filter(|fault| fault.matches(endpoint)) {
            let (latency, of_record) = match &mut fault.kind {
                FaultKind::Latency { milliseconds } => (Some(Duration::from_millis(*milliseconds)), false),
                FaultKind::OddRecord { id, .. } | FaultKind::BrokenInfo { id, .. } => {
                    *id = id.or_else(&chosen);
                    (None, true)
                }
                _ if trouble.kind.is_some() => continue,
                _ => (None, false),
            };
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                if *times == 0 {
                    continue;
                }
                *times -= 1;
            }
            match latency {
                Some(latency) => trouble.latency += latency,
                None if of_record => trouble.records.push(fault.kind.clone()),
                None => trouble.kind = Some(fault.kind.clone()),
            }
        }
        faults.retain(|fault| fault.times != Some(0));
        trouble
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
