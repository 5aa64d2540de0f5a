//! An attempt to refresh, step by step, as `src/api_client/auth.rs` and `src/store/tokens/mod.rs` have it.

use super::refresh::{Action, Pair, Refresh, Row, Standing, State, Step, Worker};

impl Refresh {
    fn store(&self, s: &mut State, pair: Pair) {
        if !self.rules.generation_at_store || s.row.generation == pair.made_from {
            s.row = Row { generation: pair.made_from + 1, token: pair.token, standing: Standing::Authorized };
        }
    }

    /// Takes a parked pair, or stores the one in hand; true when there is none left.
    fn drain(&self, s: &mut State, w: usize) -> bool {
        if let Some(pair) = s.workers[w].drained.take() {
            self.store(s, pair);
            return false;
        }
        s.workers[w].drained = s.parked.pop();
        s.workers[w].drained.is_none()
    }

    /// The next step goes well.
    pub fn step(&self, s: &mut State, w: usize) {
        let rules = self.rules;
        let Worker { step, newest, generation, token, late, pair, .. } = s.workers[w];
        match step {
            Step::Idle => {}
            Step::Start => {
                if self.drain(s, w) {
                    s.rest(w);
                }
            }
            Step::Look => {
                if !rules.looks_first || self.drain(s, w) {
                    s.workers[w].step = Step::Intend;
                }
            }
            Step::Intend => {
                let free = match s.row.standing {
                    Standing::Authorized => true,
                    Standing::Refreshing { over, .. } => over || !rules.waits_for_deadline,
                    Standing::Required => false,
                };
                let same = s.row.generation == generation || !rules.generation_at_intent;
                if rules.epoch && !newest || !free || !same {
                    return s.rest(w);
                }
                s.stale_intent |= !newest;
                if rules.intent {
                    s.row.standing = Standing::Refreshing { by: w, over: false };
                }
                s.workers[w].token = s.row.token;
                s.workers[w].step = Step::Check;
            }
            Step::Check => {
                if late && rules.checks_deadline {
                    s.withdraw(w);
                    s.rest(w);
                } else {
                    s.workers[w].step = Step::Send;
                }
            }
            Step::Send => {
                let bought = s.spend(token);
                s.workers[w].pair = bought.map(|new| Pair { made_from: generation, bought_with: token, token: new });
                s.workers[w].step = if bought.is_some() { Step::Store } else { Step::LookAgain };
                s.workers[w].parked_before = s.live_pair_is_parked();
            }
            Step::Store | Step::StoreParked => {
                pair.into_iter().for_each(|pair| self.store(s, pair));
                s.rest(w);
            }
            Step::Park => {
                s.parked.extend(pair);
                s.parked.sort();
                s.workers[w].step = Step::StoreParked;
            }
            Step::LookAgain => {
                if !rules.looks_again || self.drain(s, w) {
                    s.workers[w].step = Step::Refuse;
                }
            }
            Step::Refuse => {
                let same = s.row.generation == generation || !rules.generation_at_refusal;
                if same && s.row.standing != Standing::Required {
                    s.row.standing = Standing::Required;
                    s.asked_in_vain |= s.workers[w].parked_before && s.live_pair_is_parked();
                    s.asked_twice |= s.asked & 1 << s.row.generation != 0;
                    s.asked |= 1 << s.row.generation;
                }
                s.rest(w);
            }
        }
    }

    /// Something goes wrong. Here it is decided whose refusal no client can prevent.
    pub fn fault(&self, s: &mut State, fault: Action) {
        match fault {
            Action::Crash(w) => {
                let killed = s.workers[w].pair.filter(|_| s.workers[w].step != Step::StoreParked);
                s.excused |= killed.map_or(0, |pair| 1 << pair.bought_with);
                s.rest(w);
            }
            Action::LoseAnswer(w) => {
                let token = s.workers[w].token;
                if s.spend(token).is_some() {
                    s.excused |= 1 << token;
                }
                s.rest(w);
            }
            Action::NotSent(w) => {
                s.withdraw(w);
                s.rest(w);
            }
            Action::Delay(w) => {
                s.wire = Some(s.workers[w].token);
                s.excused |= 1 << s.workers[w].token;
                s.rest(w);
            }
            Action::Pause => {
                s.excused |= s.overtaken().map_or(0, |worker| 1 << worker.token);
                Self::pass_deadline(s);
            }
            Action::StoreFails(w) if s.workers[w].step == Step::Store && self.rules.parks => {
                s.workers[w].step = Step::Park;
            }
            Action::StoreFails(w) => s.rest(w),
            _ => {}
        }
    }
}
