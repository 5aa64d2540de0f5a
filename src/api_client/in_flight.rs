//! How many requests are in flight: as many as it takes to use the budget, found from how long answers take.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::rate_limit::WINDOW;

/// As many are in flight even where fewer would do: what the window still holds is used at once.
const FEWEST: usize = 8;

/// How much one answer moves the average.
const WEIGHT: f64 = 1.0 / 16.0;

/// Places for requests in flight.
#[derive(Debug)]
pub struct InFlight {
    places: Semaphore,
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    places: usize,
    /// How long an answer takes, in seconds: a moving average.
    latency: Option<f64>,
}

impl InFlight {
    /// Never more than `most`.
    pub fn new(most: usize) -> Self {
        let places = FEWEST.min(most);
        Self { places: Semaphore::new(places), most, state: Mutex::new(State { places, latency: None }) }
    }

    /// Waits for a place. Dropping it gives it back.
    pub async fn place(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed.
        self.places.acquire().await.ok()
    }

    /// Learns how long an answer took, where `allowed` requests may be sent in a window.
    ///
    /// By Little's law the budget is used when allowed / window × latency requests are in flight; answers that take
    /// longer than the average want more, so there are twice as many.
    pub fn answered_in(&self, taken: Duration, allowed: u32) {
        let mut state = self.lock();
        let taken = taken.as_secs_f64();
        let latency = state.latency.map_or(taken, |latency| latency + (taken - latency) * WEIGHT);
        state.latency = Some(latency);
        let needed = (2.0 * latency * f64::from(allowed) / WINDOW.as_secs_f64()).ceil() as usize;
        let wanted = needed.max(FEWEST).min(self.most);
        if wanted > state.places {
            self.places.add_permits(wanted - state.places);
            state.places = wanted;
        } else {
            // Those that are taken stay for now.
            state.places -= self.places.forget_permits(state.places - wanted);
        }
    }

    /// The bound that was set.
    pub fn most(&self) -> usize {
        self.most
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain numbers, whole after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places_after(answers: usize, seconds: f64, in_flight: &InFlight) -> usize {
        (0..answers).for_each(|_| in_flight.answered_in(Duration::from_secs_f64(seconds), 200));
        in_flight.lock().places
    }

    #[test]
    fn slow_answers_want_more_of_them_and_quick_ones_fewer() {
        let in_flight = InFlight::new(32);
        assert_eq!(places_after(100, 0.4, &in_flight), 8);
        // 3.33 requests a second times 3 s are 10.
        assert_eq!(places_after(200, 3.0, &in_flight), 20);
        assert_eq!(places_after(200, 20.0, &in_flight), 32);
        assert_eq!(places_after(200, 0.05, &in_flight), 8);
    }

    #[test]
    fn there_are_never_more_than_was_set() {
        let in_flight = InFlight::new(4);
        assert_eq!(places_after(0, 0.0, &in_flight), 4);
        assert_eq!(places_after(200, 20.0, &in_flight), 4);
    }

    #[tokio::test]
    async fn places_that_are_taken_go_when_they_are_given_back() {
        let in_flight = InFlight::new(32);
        places_after(200, 20.0, &in_flight);
        let mut taken = Vec::new();
        for _ in 0..32 {
            taken.push(in_flight.place().await);
        }
        assert_eq!(places_after(200, 0.05, &in_flight), 32);
        taken.clear();
        assert_eq!(places_after(1, 0.05, &in_flight), 8);
        assert_eq!(in_flight.places.available_permits(), 8);
    }
}
