//! A proxy before the simulated API that garbles every other answer.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri, header};

use super::Garbler;

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

#[derive(Clone)]
struct Route {
    to: String,
    http: reqwest::Client,
    state: Arc<Mutex<Garbling>>,
}

impl GarblingProxy {
    /// Begins to serve, before the API at `to`. Garbles so many answers, and then no more.
    pub async fn start(to: String, garbler: Garbler, answers: usize) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(Garbling { garbler, left: answers }));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let router = Router::new().fallback(forward).with_state(Route { to, http, state: Arc::clone(&state) });
        tokio::spawn(async { axum::serve(listener, router).await });
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

async fn forward(State(route): State<Route>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut request = route.http.post(format!("{}{uri}", route.to)).body(body);
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value.clone());
        }
    }
    let answer = request.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != header::CONTENT_LENGTH) {
        response = response.header(name, value);
    }
    let body = answer.bytes().await.unwrap();
    let body = route.state.lock().unwrap().garble(body);
    response.body(Body::from(body)).unwrap()
}
