//! The rules of the protocol, each of which can be taken out.

/// How a transaction makes sure that its epoch is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// `select … for share`: nobody takes the lease until the commit.
    Share,
    /// A select that holds nothing.
    PlainSelect,
    /// Not at all.
    Absent,
}

/// When a request is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckWhen {
    /// When the final event, or the copy, is confirmed.
    Last,
    /// When the run is finished in the database.
    BeforeTheEvent,
    /// When the run is claimed.
    BeforeTheWork,
}

/// The rules for requests.
#[derive(Clone, Copy, Debug)]
pub struct RequestRules {
    /// A delivery whose number is below the run's is dropped.
    pub slice_number: bool,
    pub fence: Fence,
    pub ack: AckWhen,
    /// The copy is confirmed before the run's slice number is written.
    pub copy_first: bool,
    /// A page's rows and its checkpoint are one transaction.
    pub rows_with_checkpoint: bool,
    /// Progress sets the attempts to 0.
    pub progress_forgives: bool,
    /// A claim that came to nothing although its process lives is no attempt.
    pub orderly_ends_forgiven: bool,
    /// What the broker gives up ends as a run, whether that had begun, was under way or is finished already: so it has one event.
    pub given_up_as_a_run: bool,
    /// A request whose run has begun is delivered again when it expires.
    pub begun_never_expires: bool,
    /// Whatever is written to a run, its end included, is written only while it is running.
    pub ends_once: bool,
}

pub const REQUEST_RULES: RequestRules = RequestRules {
    slice_number: true,
    fence: Fence::Share,
    ack: AckWhen::Last,
    copy_first: true,
    rows_with_checkpoint: true,
    progress_forgives: true,
    orderly_ends_forgiven: true,
    given_up_as_a_run: true,
    begun_never_expires: true,
    ends_once: true,
};

/// The rules for the refresh token.
#[derive(Clone, Copy, Debug)]
pub struct RefreshRules {
    /// The intent is written before the request.
    pub intent: bool,
    /// The intent is written only with the newest epoch.
    pub epoch: bool,
    /// The generation is compared: when the intent is written, when a pair is stored, when a refusal is believed.
    pub generation_at_intent: bool,
    pub generation_at_store: bool,
    pub generation_at_refusal: bool,
    /// An intent is taken over only after its deadline.
    pub waits_for_deadline: bool,
    /// The deadline is looked at just before sending.
    pub checks_deadline: bool,
    /// A pair that cannot be stored is parked.
    pub parks: bool,
    /// Parked pairs are stored before the old token is tried.
    pub looks_first: bool,
    /// And once more before a refusal is believed.
    pub looks_again: bool,
    /// One process at a time takes parked pairs.
    pub drains_alone: bool,
    /// Parked pairs are stored also while a person is asked to authorize.
    pub drains_while_asked: bool,
}

pub const REFRESH_RULES: RefreshRules = RefreshRules {
    intent: true,
    epoch: true,
    generation_at_intent: true,
    generation_at_store: true,
    generation_at_refusal: true,
    waits_for_deadline: true,
    checks_deadline: true,
    parks: true,
    looks_first: true,
    looks_again: true,
    drains_alone: true,
    drains_while_asked: true,
};

/// The rules for hints.
#[derive(Clone, Copy, Debug)]
pub struct HintRules {
    /// A hint is served only if its generation is still the one that was read.
    pub compares_generation: bool,
    /// The generation is read before the request.
    pub reads_generation_first: bool,
    /// Rows and the mark that their hint is served are one transaction.
    pub rows_with_mark: bool,
    /// What a look brought is stored only with the newest epoch.
    pub fence: bool,
    /// An answer that was asked for before the row's writes nothing.
    pub newest_counts: bool,
    /// Nor one that was asked for before an answer which equalled the row.
    pub remembers_equal: bool,
    /// Who serves hints says that nobody is asked any more.
    pub clears_asked: bool,
    /// And says at the end that nobody serves them any more.
    pub clears_serving: bool,
    /// Nobody is woken while a message that was asked for may be on its way.
    pub asks_once: bool,
    /// But after 10 s it counts as lost.
    pub asked_expires: bool,
    /// Nobody is woken while somebody serves hints.
    pub spares_who_serves: bool,
    /// But after 10 s without a word from it that one counts as dead.
    pub serving_expires: bool,
    /// Which that one says however long its look lasts.
    pub says_so: bool,
    /// Who was woken looks before the ack whether hints are left, and wakes the next.
    pub wakes_again: bool,
    /// Who stores a hint notifies all processes.
    pub notifies: bool,
    /// Each process looks for hints by itself, each second.
    pub looks: bool,
}

pub const HINT_RULES: HintRules = HintRules {
    compares_generation: true,
    reads_generation_first: true,
    rows_with_mark: true,
    fence: true,
    newest_counts: true,
    remembers_equal: true,
    clears_asked: true,
    clears_serving: true,
    asks_once: true,
    asked_expires: true,
    spares_who_serves: true,
    serving_expires: true,
    says_so: true,
    wakes_again: true,
    notifies: true,
    looks: true,
};
