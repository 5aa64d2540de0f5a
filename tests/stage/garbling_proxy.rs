//! A proxy before the simulated API that garbles every other answer.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;

use super::Garbler;
use super::proxy::proxy;

/// The proxy. It serves until the runtime ends.
#[derive(Clone)]
pub struct GarblingProxy {
    /// Its base URL.
    pub url: String,
    state: Arc<Mutex<Garbling>>,
}

struct Garbling {
    garbler: Garbler,
    /// Answers still to be garbled.
    left: usize,
}

impl GarblingProxy {
    /// Begins to serve, before the API at `to`. Garbles so many answers, and then no more.
    pub async fn start(to: String, garbler: Garbler, answers: usize) -> Self {
        let state = Arc::new(Mutex::new(Garbling { garbler, left: answers }));
        let shared = Arc::clone(&state);
        let url = proxy(to, move |_, _, answer| shared.lock().unwrap().garble(answer)).await;
        Self { url, state }
    }

    /// How many answers are still to be garbled.
    pub fn left(&self) -> usize {
        self.state.lock().unwrap().left
    }
}

impl Garbling {
    fn garble(&mut self, body: Bytes) -> Bytes {
        if self.left == 0 || self.garbler.below(2) == 0 {
            return body;
        }
        self.left -= 1;
        let text = std::str::from_utf8(&body).expect("the API answers UTF-8");
        self.garbler.garble(text).into()
    }
}
