//! Faults on demand: what goes wrong, where, from when and how often.

use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::contract;

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Where: an endpoint such as `contacts.list` or `oauth2/access_token`, or a resource such as `contacts` for all its
    /// endpoints. Without one, everywhere.
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
    /// The answer is cut in half, and `Content-Length` fits the half: only the JSON tells.
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
    /// An answer that is small as long as it is compressed with gzip, and is so many bytes then: white space before the
    /// right answer.
    GzipBomb {
        /// How many bytes.
        bytes: u64,
    },
    /// 403, as for a missing scope or a module that is not in the customer's plan.
    Forbidden,
    /// The token endpoint does its work, the old refresh token is dead, and the connection is closed without an answer.
    /// Hits `oauth2/access_token` alone.
    LoseTokenAnswer,
}

impl FaultKind {
    /// Whether the endpoint does its work, and the answer, or a part of it, is not sent.
    pub(crate) fn loses_the_answer(&self) -> bool {
        matches!(self, Self::LoseTokenAnswer | Self::TruncatedJson | Self::CutMidBody)
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
        if self.kind == FaultKind::LoseTokenAnswer && endpoint != "oauth2/access_token" {
            return false;
        }
        self.endpoint.as_deref().is_none_or(|wanted| {
            endpoint == wanted
                || contract::resource_of(endpoint) == Some(wanted)
                || endpoint.rsplit_once('.').is_some_and(|(resource, _)| resource == wanted)
        })
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
    pub(crate) fn strike(&self, endpoint: &str) -> Trouble {
        let mut trouble = Trouble::default();
        let mut faults = self.lock();
        for fault in faults.iter_mut().filter(|fault| fault.matches(endpoint)) {
            let latency = match fault.kind {
                FaultKind::Latency { milliseconds } => Some(Duration::from_millis(milliseconds)),
                _ if trouble.kind.is_some() => continue,
                _ => None,
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
