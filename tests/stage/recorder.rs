//! A proxy before the simulated API that keeps the body of every request.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri, header};
use serde_json::Value;

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

#[derive(Clone)]
struct Proxy {
    to: String,
    http: reqwest::Client,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Recorder {
    /// Begins to serve, before the API at `to`.
    pub async fn start(to: String) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let router = Router::new().fallback(forward).with_state(Proxy { to, http, asked: Arc::clone(&asked) });
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { url, asked }
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn forward(State(proxy): State<Proxy>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let endpoint = uri.path().trim_start_matches('/').to_owned();
    let json = serde_json::from_slice(&body).expect("a request to the API is JSON");
    proxy.asked.lock().unwrap().push(Asked { endpoint, body: json });
    let mut request = proxy.http.post(format!("{}{uri}", proxy.to)).body(body);
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE] {
        request = request.header(name.clone(), headers[name].clone());
    }
    let answer = request.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}
