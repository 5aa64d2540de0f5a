//! A proxy before the simulated API that keeps the body of every request.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::proxy::proxy;

/// A request to the API.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `contacts.list`.
    pub endpoint: String,
    /// The JSON body.
    pub body: Value,
}

/// The proxy. It serves until the runtime ends.
#[derive(Clone)]
pub struct Recorder {
    /// Its base URL.
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Recorder {
    /// Begins to serve, before the API at `to`.
    pub async fn start(to: String) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let keep = Arc::clone(&asked);
        let url = proxy(to, move |endpoint, body, answer| {
            let body = serde_json::from_slice(body).expect("a request to the API is JSON");
            keep.lock().unwrap().push(Asked { endpoint: endpoint.to_owned(), body });
            answer
        });
        Self { url: url.await, asked }
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}
