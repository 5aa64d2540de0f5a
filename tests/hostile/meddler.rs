//! A proxy before the simulated API that exchanges one answer for another, byte for byte as an attack wants it.

use std::sync::{Arc, Mutex};

use reqwest::Method;
use reqwest::header::HeaderMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::api::{Attack, Meddling};
use crate::http::shown;

/// The proxy. It serves until the runtime ends.
#[derive(Clone)]
pub struct Meddler {
    /// Its base URL.
    pub url: String,
    to: String,
    http: reqwest::Client,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    armed: Option<Armed>,
    /// What was sent in the place of an answer.
    sent: Option<String>,
}

struct Armed {
    endpoint: String,
    skip: u64,
    meddling: Meddling,
}

/// An answer, as it will be written.
pub struct Answer {
    /// What follows the version in the first line.
    pub status: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What `Content-Length` says, where it is not the length.
    pub length: Option<String>,
    /// These bytes, and nothing of the above.
    pub raw: Option<Vec<u8>>,
}

struct Asked {
    method: Method,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// With this header in the place of those of its name.
    pub fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.add(name, value);
    }

    /// With one more header.
    pub fn add(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    fn bytes(self) -> Vec<u8> {
        if let Some(raw) = self.raw {
            return raw;
        }
        let length = self.length.unwrap_or_else(|| self.body.len().to_string());
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        [head.as_bytes(), format!("Content-Length: {length}\r\n\r\n").as_bytes(), &self.body].concat()
    }
}

impl Meddler {
    /// Begins to serve, before the API at `to`.
    pub async fn start(to: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let meddler = Self { url, to, http, state: Arc::default() };
        let serving = meddler.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                // However it ends: the caller's connection is closed.
                tokio::spawn(async move { serving.serve(BufReader::new(stream)).await });
            }
        });
        meddler
    }

    /// The next answer that fits is exchanged.
    pub fn arm(&self, attack: Attack) {
        let Attack { endpoint, skip, meddling, .. } = attack;
        *self.state.lock().unwrap() = State { armed: Some(Armed { endpoint, skip, meddling }), sent: None };
    }

    /// What was sent in the place of an answer, if any was. From now on none is exchanged.
    pub fn disarm(&self) -> Option<String> {
        std::mem::take(&mut *self.state.lock().unwrap()).sent
    }

    async fn serve(&self, mut stream: BufReader<TcpStream>) -> Option<()> {
        loop {
            let asked = read(&mut stream).await?;
            let endpoint = asked.target.trim_start_matches('/').to_owned();
            let (mut answer, closes) = (self.forward(asked).await?, self.take(&endpoint));
            let is_exchanged = closes.is_some();
            if let Some(meddling) = closes {
                meddling.act(&mut answer);
            }
            let bytes = answer.bytes();
            if is_exchanged {
                self.state.lock().unwrap().sent = Some(shown(&bytes));
            }
            stream.write_all(&bytes).await.ok()?;
            if is_exchanged {
                return Some(());
            }
        }
    }

    fn take(&self, endpoint: &str) -> Option<Meddling> {
        let mut state = self.state.lock().unwrap();
        let armed = state.armed.as_mut().filter(|armed| armed.endpoint == endpoint)?;
        if armed.skip > 0 {
            armed.skip -= 1;
            return None;
        }
        state.armed.take().map(|armed| armed.meddling)
    }

    async fn forward(&self, asked: Asked) -> Option<Answer> {
        let mut request = self.http.request(asked.method, format!("{}{}", self.to, asked.target)).body(asked.body);
        for (name, value) in asked.headers {
            if ["authorization", "content-type", "x-api-version"].contains(&name.as_str()) {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status().to_string(), passed(answer.headers()));
        Some(Answer { status, headers, body: answer.bytes().await.ok()?.to_vec(), length: None, raw: None })
    }
}

fn passed(headers: &HeaderMap) -> Vec<(String, String)> {
    let framing = ["content-length", "transfer-encoding", "connection"];
    let headers = headers.iter().filter(|(name, _)| !framing.contains(&name.as_str()));
    headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

/// Reads a request as HTTP clients send it; `None` at the end of the connection.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.parse().ok()?, first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse().unwrap());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked { method, target, headers, body })
}
