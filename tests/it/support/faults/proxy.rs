//! Runs the proxy: one task per connection, one connection to the server per request.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::http::{Body, Framing, Head, Incoming, send_end, send_piece};
use super::{Action, LinkSpeed, OVERLOOK, Seen, Shared, listing};

/// Size in bytes of the pieces of a body that is sent from memory.
const PIECE: usize = 64 * 1024;

/// State that all connections share.
pub(super) struct Proxy {
    upstream: SocketAddr,
    pub(super) shared: Arc<Shared>,
    /// When the line is free again, to the client (`down`) and from it (`up`).
    down: Mutex<Option<Instant>>,
    up: Mutex<Option<Instant>>,
}

/// A request, and the faults to apply to it.
pub(super) struct Exchange<'a> {
    pub(super) proxy: &'a Proxy,
    /// Number of the request among all that were ever recorded, from 0.
    at: usize,
    pub(super) request: Head,
    actions: Vec<Action>,
    speed: LinkSpeed,
}

/// Counts a request as under way.
struct Open<'a>(&'a Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.lock().open -= 1;
    }
}

/// What happens to the connection to the client after an answer.
#[derive(PartialEq, Eq)]
enum After {
    Keep,
    Close,
}

type Client = (Incoming<OwnedReadHalf>, OwnedWriteHalf);

pub(super) fn serve(
    listener: TcpListener,
    upstream: SocketAddr,
    shared: Arc<Shared>,
    mut stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async move {
        listener.set_nonblocking(true).expect("non-blocking");
        let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
        let proxy = Arc::new(Proxy { upstream, shared, down: Mutex::default(), up: Mutex::default() });
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted.expect("accept").0,
                _ = &mut stopped => break,
            };
            // Ignores errors: a client may leave at any time.
            let proxy = Arc::clone(&proxy);
            tokio::spawn(async move { proxy.connection(stream).await.ok() });
        }
    });
}

impl Proxy {
    async fn connection(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let latency = {
            let mut state = self.shared.lock();
            state.connections += 1;
            state.speed.latency
        };
        sleep(latency).await;
        let (read, mut write) = stream.into_split();
        let mut read = Incoming::new(read);
        while let Some(request) = read.head().await? {
            let mut client = (read, write);
            let after = self.exchange(request, &mut client).await?;
            (read, write) = client;
            if after == After::Close {
                break;
            }
        }
        Ok(())
    }

    async fn exchange(&self, request: Head, client: &mut Client) -> io::Result<After> {
        let (exchange, _open) = self.admit(request);
        exchange.run(client).await
    }

    /// Records the request, and collects the faults to apply to it.
    fn admit(&self, request: Head) -> (Exchange<'_>, Open<'_>) {
        let (method, target) = (request.word(0).to_owned(), request.word(1).to_owned());
        let mut state = self.shared.lock();
        let has = |name: &str| request.header(name).is_some();
        let mut actions = Vec::new();
        for rule in &mut state.rules {
            if rule.fits(&method, &target, has) {
                actions.extend(rule.actions.iter().cloned());
            }
        }
        let header = |name: &str| request.header(name).map(str::to_owned);
        let (range, if_match, is_faulty) = (header("range"), header("if-match"), !actions.is_empty());
        state.seen.push(Seen { method, target, range, if_match, is_faulty, ..Seen::default() });
        state.open += 1;
        state.peak = state.peak.max(state.open);
        let (at, speed) = (state.forgotten + state.seen.len() - 1, state.speed);
        (Exchange { proxy: self, at, request, actions, speed }, Open(&self.shared))
    }

    /// Waits until `bytes` have passed a line of this many bytes per second, which all callers with this `free` share.
    async fn pass(free: &Mutex<Option<Instant>>, bytes_per_second: u64, bytes: usize) {
        if bytes_per_second == 0 {
            return;
        }
        let until = {
            let mut free = free.lock().await;
            let now = Instant::now();
            let start = free.map_or(now, |free| free.max(now));
            #[expect(clippy::cast_precision_loss, reason = "seconds of a simulated line")]
            let until = start + Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
            *free = Some(until);
            until
        };
        sleep_until(until).await;
    }
}

impl Exchange<'_> {
    async fn run(&self, client: &mut Client) -> io::Result<After> {
        for action in &self.actions {
            match action {
                Action::Latency(latency) => sleep(*latency).await,
                Action::Close => return Ok(After::Close),
                Action::Hang => {
                    // Waits until the client gives up, or the proxy stops.
                    self.drain(client).await?;
                    client.0.head().await?;
                    return Ok(After::Close);
                }
                _ => {}
            }
        }
        if self.request.header("expect").is_some() {
            Head { first: "HTTP/1.1 100 Continue".to_owned(), ..Head::default() }.send(&mut client.1).await?;
        }
        if let Some(made_up) = self.made_up() {
            self.drain(client).await?;
            sleep(self.speed.latency).await;
            return self.tell(made_up, client).await;
        }
        self.pass_on(client).await
    }

    /// Returns head and body of an answer that does not come from the server, if a rule requires one.
    fn made_up(&self) -> Option<(Head, Vec<u8>)> {
        let made = |status: u16, kind: &str, body: Vec<u8>| {
            let mut head = Head { first: format!("HTTP/1.1 {status} Fault"), ..Head::default() };
            head.set("content-length", &body.len());
            if !kind.is_empty() {
                head.set("content-type", &kind);
            }
            (head, body)
        };
        self.actions.iter().find_map(|action| match action {
            Action::Error(status, code, message) => {
                let xml = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message>\
                     <RequestId>FAULT</RequestId></Error>"
                );
                Some(made(*status, "application/xml", xml.into_bytes()))
            }
            Action::Empty(status) => Some(made(*status, "", Vec::new())),
            Action::Body(status, body) => Some(made(*status, "text/html", body.clone())),
            Action::Garbage => Some((Head::default(), b"\x00\x16SSH-2.0-nothing of that kind\r\n\r\n".to_vec())),
            _ => None,
        })
    }

    async fn tell(&self, (head, body): (Head, Vec<u8>), (_, write): &mut Client) -> io::Result<After> {
        use tokio::io::AsyncWriteExt as _;
        if head.first.is_empty() {
            write.write_all(&body).await?;
            return Ok(After::Close);
        }
        self.note(|seen| seen.status = Some(head.status()));
        head.send(write).await?;
        if self.request.word(0) != "HEAD" {
            write.write_all(&body).await?;
            self.note(|seen| seen.sent = body.len() as u64);
        }
        Ok(After::Keep)
    }

    /// Reads the request body and discards it.
    async fn drain(&self, (read, _): &mut Client) -> io::Result<()> {
        let mut body = Body::new(self.request.request_framing());
        while let Some(bytes) = body.next(read).await? {
            Proxy::pass(&self.proxy.up, self.speed.bandwidth, bytes.len()).await;
            self.note(|seen| seen.received += bytes.len() as u64);
        }
        Ok(())
    }

    async fn pass_on(&self, client: &mut Client) -> io::Result<After> {
        if let Some(kept) = self.kept() {
            sleep(self.speed.latency).await;
            return self.send_whole(kept.head.clone(), &kept.body, &mut client.1).await;
        }
        let upstream = TcpStream::connect(self.proxy.upstream).await?;
        upstream.set_nodelay(true)?;
        let (from, mut to) = upstream.into_split();
        let mut from = Incoming::new(from);
        let mut head = self.request.clone();
        if self.actions.contains(&Action::IgnoreRange) {
            // This header is not signed, so it may be added. `Range` may be signed, so it has to stay.
            head.headers.push((OVERLOOK.to_owned(), "range".to_owned()));
        }
        head.send(&mut to).await?;
        let (is_sent, answer) = tokio::join!(self.send_request(&mut client.0, &mut to), self.answer_head(&mut from));
        let (Some(answer), true) = (answer?, is_sent?) else { return Ok(After::Close) };
        if self.actions.contains(&Action::LoseAnswer) {
            Body::new(answer.answer_framing(self.request.word(0))).all(&mut from).await?;
            return Ok(After::Close);
        }
        sleep(self.speed.latency).await;
        self.send_answer(answer, &mut from, &mut client.1).await
    }

    /// Passes the request body on. False: a rule closes the connection.
    async fn send_request(&self, read: &mut Incoming<OwnedReadHalf>, to: &mut OwnedWriteHalf) -> io::Result<bool> {
        let limit = self.actions.iter().find_map(|action| match action {
            Action::CloseUploadAfter(bytes) => Some(*bytes),
            _ => None,
        });
        let framing = self.request.request_framing();
        let (mut body, mut passed, mut is_heard) = (Body::new(framing), 0, true);
        while let Some(bytes) = body.next(read).await? {
            Proxy::pass(&self.proxy.up, self.speed.bandwidth, bytes.len()).await;
            passed += bytes.len() as u64;
            self.note(|seen| seen.received = passed);
            if limit.is_some_and(|limit| passed >= limit) {
                use tokio::io::AsyncWriteExt as _;
                let _ = to.shutdown().await;
                return Ok(false);
            }
            // A server that answers early stops reading. The client still has to send the rest, so the proxy reads it.
            is_heard = is_heard && send_piece(to, framing, &bytes).await.is_ok();
        }
        if is_heard {
            let _ = send_end(to, framing).await;
        }
        Ok(true)
    }

    /// Reads the head of the final answer; `None`: the server closed the connection.
    async fn answer_head(&self, from: &mut Incoming<OwnedReadHalf>) -> io::Result<Option<Head>> {
        loop {
            match from.head().await {
                Ok(Some(head)) if head.status() / 100 == 1 => {}
                other => return other,
            }
        }
    }

    async fn send_answer(
        &self,
        mut head: Head,
        from: &mut Incoming<OwnedReadHalf>,
        write: &mut OwnedWriteHalf,
    ) -> io::Result<After> {
        let theirs = head.answer_framing(self.request.word(0));
        let mut body = Body::new(theirs);
        let whole = match self.needs_whole_body() && theirs != Framing::Length(0) {
            true => Some(self.changed(body.all(from).await?)),
            false => None,
        };
        if let Some(whole) = whole {
            self.keep(&head, &whole);
            return self.send_whole(head, &whole, write).await;
        }
        let ours = self.change_head(&mut head, theirs, None);
        self.note(|seen| seen.status = Some(head.status()));
        head.send(write).await?;
        let mut sent = 0;
        body = Body::new(theirs);
        while let Some(bytes) = body.next(from).await? {
            if !self.send_some(write, ours, &bytes, &mut sent).await? {
                return Ok(After::Close);
            }
        }
        send_end(write, ours).await?;
        Ok(if ours == Framing::UntilClose { After::Close } else { After::Keep })
    }

    /// Sends an answer whose body is in memory.
    async fn send_whole(&self, mut head: Head, body: &[u8], write: &mut OwnedWriteHalf) -> io::Result<After> {
        let framing = self.change_head(&mut head, Framing::Length(body.len() as u64), Some(body));
        self.note(|seen| seen.status = Some(head.status()));
        head.send(write).await?;
        let mut sent = 0;
        for piece in body.chunks(PIECE) {
            if !self.send_some(write, framing, piece, &mut sent).await? {
                return Ok(After::Close);
            }
        }
        send_end(write, framing).await?;
        Ok(if framing == Framing::UntilClose { After::Close } else { After::Keep })
    }

    fn needs_whole_body(&self) -> bool {
        let changes = |action: &Action| matches!(action, Action::Truncate(_) | Action::Flip(_) | Action::Listing(_));
        self.actions.iter().any(changes) || (self.is_object() && self.proxy.shared.lock().kept.is_some())
    }

    fn changed(&self, mut body: Vec<u8>) -> Vec<u8> {
        for action in &self.actions {
            match action {
                Action::Truncate(bytes) => body.truncate(usize::try_from(*bytes).unwrap_or(usize::MAX)),
                Action::Flip(at) => {
                    let at = usize::try_from(*at).unwrap_or(usize::MAX);
                    if let Some(byte) = body.get_mut(at) {
                        *byte = !*byte;
                    }
                }
                Action::Listing(lie) => body = listing::changed(&body, lie),
                _ => {}
            }
        }
        body
    }

    /// Applies the rules to the head of the answer. Returns the framing of the body to send.
    fn change_head(&self, head: &mut Head, framing: Framing, whole: Option<&[u8]>) -> Framing {
        let mut framing = framing;
        if let Some(whole) = whole {
            head.remove("transfer-encoding");
            head.set("content-length", &whole.len());
            framing = Framing::Length(whole.len() as u64);
        }
        for action in &self.actions {
            match action {
                Action::NoLength if framing != Framing::Length(0) => {
                    head.remove("content-length");
                    head.set("transfer-encoding", &"chunked");
                    framing = Framing::Chunked;
                }
                Action::Without(name) => head.remove(name),
                Action::With(name, value) => head.set(name, value),
                _ => {}
            }
        }
        framing
    }

    /// Sends a piece of the answer body. False: a rule ends the connection here.
    async fn send_some(
        &self,
        write: &mut OwnedWriteHalf,
        framing: Framing,
        bytes: &[u8],
        sent: &mut u64,
    ) -> io::Result<bool> {
        let limit = self.actions.iter().find_map(|action| match action {
            Action::CutAfter(limit) | Action::HangAfter(limit) => Some(limit.saturating_sub(*sent)),
            _ => None,
        });
        let all = bytes.len();
        let most = limit.map_or(all, |limit| all.min(usize::try_from(limit).unwrap_or(all)));
        let bytes = &bytes[..most];
        let slow = self.actions.iter().find_map(|action| match action {
            Action::Slow(bytes_per_second) => Some(*bytes_per_second),
            _ => None,
        });
        // Sends a slow body in small pieces, so that it arrives steadily.
        let drop = slow.map_or(usize::MAX, |slow| usize::try_from(slow / 4).unwrap_or(usize::MAX).max(1));
        for bytes in bytes.chunks(drop) {
            Proxy::pass(&Mutex::default(), slow.unwrap_or(0), bytes.len()).await;
            Proxy::pass(&self.proxy.down, self.speed.bandwidth, bytes.len()).await;
            send_piece(write, framing, bytes).await?;
        }
        *sent += bytes.len() as u64;
        self.note(|seen| seen.sent = *sent);
        if most < all && self.actions.iter().any(|action| matches!(action, Action::HangAfter(_))) {
            write.as_ref().readable().await?;
        }
        Ok(most == all)
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        let mut state = self.proxy.shared.lock();
        // `None`: the request was forgotten while it was under way.
        let place = self.at.checked_sub(state.forgotten);
        if let Some(seen) = place.and_then(|place| state.seen.get_mut(place)) {
            change(seen);
        }
    }
}
