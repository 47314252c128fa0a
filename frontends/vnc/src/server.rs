//! The sockets: a thread that waits for clients, and two for each of them. One reads and feeds the
//! client's [`Session`]; the other sends, sleeping until there is a new picture or an answer.

use crate::protocol::{ProtocolError, Session, Settings};
use crate::socket::{Origins, Transport};
use screen::{Event, FrontEnd, Mouse, Picture, Screen, Status, Viewer};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Clients at a time; more are turned away.
const MOST_CLIENTS: usize = 8;
/// How long a client may take until it looks at the screen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a client may refuse to read.
const DEAF: Duration = Duration::from_secs(20);
/// How long the server waits for a browser's first word before it speaks RFB itself.
const BROWSER: Duration = Duration::from_millis(300);
/// After a wrong password nobody gets in for so long.
const PENALTY: Duration = Duration::from_secs(3);

/// Where a server listens, and whom it lets in.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// For VNC clients and, told apart by their first words, for WebSockets. Port 0 is any.
    pub address: Option<SocketAddr>,
    /// For WebSockets only.
    pub web_socket: Option<SocketAddr>,
    /// The name of the screen and the password.
    pub settings: Settings,
    /// The web pages that may connect.
    pub origins: Origins,
}

/// A server that runs. Dropping it sends everybody away.
pub struct Server {
    shared: Arc<Shared>,
    events: Receiver<Event>,
    addresses: Vec<SocketAddr>,
    viewer: Viewer,
}

/// What all threads see.
struct Shared {
    config: Config,
    screen: Mutex<Shown>,
    /// There is a new picture, or a client has something to be sent.
    news: Condvar,
    clients: AtomicUsize,
    events: Sender<Event>,
    locked_until: Mutex<Option<Instant>>,
}

struct Shown {
    picture: Arc<Picture>,
    generation: u64,
    absolute: bool,
    closing: bool,
}

/// What the two threads of a client share.
struct Client {
    stream: TcpStream,
    talk: Mutex<Talk>,
    /// The session has something to send.
    kicked: AtomicBool,
    gone: AtomicBool,
}

struct Talk {
    session: Session,
    transport: Transport,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn listen(config: Config) -> io::Result<Server> {
        let (sender, events) = channel();
        let mut listeners = Vec::new();
        for (address, web_only) in [(config.address, false), (config.web_socket, true)] {
            if let Some(address) = address {
                let listener = TcpListener::bind(address)
                    .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
                listeners.push((listener, web_only));
            }
        }
        let blank = Picture { width: 640, height: 480, pixels: vec![0; 640 * 480] };
        let shared = Arc::new(Shared {
            config,
            screen: Mutex::new(Shown { picture: Arc::new(blank), generation: 0, absolute: false, closing: false }),
            news: Condvar::new(),
            clients: AtomicUsize::new(0),
            events: sender,
            locked_until: Mutex::new(None),
        });
        let mut addresses = Vec::new();
        for (listener, web_only) in listeners {
            addresses.push(listener.local_addr()?);
            let shared = shared.clone();
            std::thread::Builder::new().name("vnc".into()).spawn(move || shared.accept(&listener, web_only))?;
        }
        Ok(Server { shared, events, addresses, viewer: Viewer::new() })
    }
    /// Where it listens: for VNC clients and for WebSockets, as far as asked for.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
    /// How many clients there are.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.shared.clients.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        lock(&self.shared.screen).closing = true;
        self.shared.news.notify_all();
        for address in &self.addresses {
            // Wakes the thread that waits for clients.
            let _ = TcpStream::connect_timeout(address, Duration::from_millis(100));
        }
    }
}

impl FrontEnd for Server {
    fn show(&mut self, screen: &mut dyn Screen, status: &Status) -> io::Result<()> {
        if self.clients() == 0 {
            return Ok(());
        }
        let frame = screen.frame(&mut self.viewer);
        let mut shown = lock(&self.shared.screen);
        let absolute = status.mouse == Mouse::Absolute;
        if !frame.changed() && shown.absolute == absolute {
            return Ok(());
        }
        shown.absolute = absolute;
        shown.generation += 1;
        // Copied only while a client is just being sent the last one.
        let picture = Arc::make_mut(&mut shown.picture);
        if (picture.width, picture.height) != (frame.width, frame.height) {
            (picture.width, picture.height) = (frame.width, frame.height);
            picture.pixels.clear();
            picture.pixels.resize(frame.width * frame.height, 0);
        }
        for part in frame.damage() {
            for y in part.y..part.y + part.height {
                let start = y * frame.width + part.x;
                let end = start + part.width;
                picture.pixels[start..end].copy_from_slice(&frame.pixels[start..end]);
            }
        }
        self.shared.news.notify_all();
        Ok(())
    }
    fn poll(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        // Bounded, so that clients cannot keep the machine from running.
        events.extend(self.events.try_iter().take(1024));
        Ok(())
    }
}

impl Shared {
    fn accept(self: &Arc<Shared>, listener: &TcpListener, web_only: bool) {
        loop {
            let connection = listener.accept();
            if lock(&self.screen).closing {
                return;
            }
            let Ok((stream, _)) = connection else {
                // Out of file descriptors, most likely: that passes.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            if self.clients.fetch_add(1, Ordering::Relaxed) >= MOST_CLIENTS {
                self.clients.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let shared = self.clone();
            let spawned = std::thread::Builder::new().name("vnc client".into()).spawn(move || {
                let _ = shared.serve(stream, web_only);
                shared.clients.fetch_sub(1, Ordering::Relaxed);
            });
            if spawned.is_err() {
                self.clients.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn serve(self: &Arc<Shared>, stream: TcpStream, web_only: bool) -> io::Result<()> {
        let began = Instant::now();
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(DEAF))?;
        let transport = if web_only || is_browser(&stream)? {
            Transport::web_socket(self.config.origins.clone())
        } else {
            Transport::plain()
        };
        let mut challenge = [0; 16];
        getrandom::fill(&mut challenge).map_err(|_| io::Error::other("no random numbers"))?;
        let picture = lock(&self.screen).picture.clone();
        let session = Session::new(self.config.settings.clone(), (picture.width, picture.height), challenge);
        drop(picture);
        let client = Arc::new(Client {
            stream,
            talk: Mutex::new(Talk { session, transport }),
            kicked: AtomicBool::new(true),
            gone: AtomicBool::new(false),
        });
        let writer = {
            let (shared, client) = (self.clone(), client.clone());
            std::thread::Builder::new().name("vnc writer".into()).spawn(move || {
                let _ = shared.write(&client);
                client.gone.store(true, Ordering::Relaxed);
                let _ = client.stream.shutdown(Shutdown::Both);
            })?
        };
        let result = self.read(&client, began);
        let mut events = Vec::new();
        lock(&client.talk).session.leave(&mut events);
        self.report(events);
        client.gone.store(true, Ordering::Relaxed);
        self.kick(&client);
        let _ = writer.join();
        result
    }

    fn report(&self, events: Vec<Event>) {
        for event in events {
            // Nobody listens only when the server is being dropped.
            let _ = self.events.send(event);
        }
    }
    fn kick(&self, client: &Client) {
        client.kicked.store(true, Ordering::Release);
        // Under the lock, or the writer could miss it between its look and its sleep.
        let _screen = lock(&self.screen);
        self.news.notify_all();
    }

    /// Reads until the client goes or must go.
    fn read(&self, client: &Client, began: Instant) -> io::Result<()> {
        let mut buffer = [0; 8192];
        let mut running = false;
        loop {
            if !running {
                let left = PATIENCE.saturating_sub(began.elapsed());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                client.stream.set_read_timeout(Some(left))?;
            }
            let length = match (&client.stream).read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut events = Vec::new();
            let over = {
                let mut talk = lock(&client.talk);
                let Talk { session, transport } = &mut *talk;
                let is_locked = lock(&self.locked_until).is_some_and(|until| until > Instant::now());
                session.lock(is_locked);
                match transport.receive(&buffer[..length]) {
                    Err(_) => true,
                    Ok(said) => match session.receive(&said, &mut events) {
                        Ok(()) => {
                            if session.is_running() && !running {
                                client.stream.set_read_timeout(None)?;
                                running = true;
                            }
                            false
                        }
                        Err(error) => {
                            // Attempts while nobody gets in do not prolong it.
                            if error == ProtocolError::Password && !is_locked {
                                *lock(&self.locked_until) = Some(Instant::now() + PENALTY);
                            }
                            true
                        }
                    },
                }
            };
            self.report(events);
            if over {
                return Ok(());
            }
            self.kick(client);
        }
    }

    /// Sends until the client goes. What is left to say when it must go is said first.
    fn write(&self, client: &Client) -> io::Result<()> {
        let mut seen = u64::MAX;
        loop {
            let (picture, generation, absolute) = {
                let mut screen = lock(&self.screen);
                while !screen.closing && !client.kicked.swap(false, Ordering::Acquire) && screen.generation == seen {
                    screen = self.news.wait(screen).unwrap_or_else(PoisonError::into_inner);
                }
                if screen.closing {
                    return Ok(());
                }
                (screen.picture.clone(), screen.generation, screen.absolute)
            };
            seen = generation;
            let gone = client.gone.load(Ordering::Relaxed);
            let bytes = {
                let mut talk = lock(&client.talk);
                let Talk { session, transport } = &mut *talk;
                if session.waits(generation) {
                    session.update(&picture, generation, absolute);
                }
                let payload = if transport.is_open() { session.output() } else { Vec::new() };
                transport.send(payload)
            };
            drop(picture);
            if !bytes.is_empty() {
                (&client.stream).write_all(&bytes)?;
            }
            if gone {
                return Ok(());
            }
        }
    }
}

/// Whether a client's first word is that of a browser. A VNC client waits for the server's.
fn is_browser(stream: &TcpStream) -> io::Result<bool> {
    stream.set_read_timeout(Some(BROWSER))?;
    let mut first = [0; 1];
    match stream.peek(&mut first) {
        Ok(length) => Ok(length == 1 && first[0] == b'G'),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
        Err(error) => Err(error),
    }
}
