//! A server of the Remote Framebuffer protocol, versions 3.3, 3.7 and 3.8 (RFC 6143): for VNC
//! clients, and over WebSocket for noVNC in a browser.
//!
//! [`protocol`] is the state machine of one client, bytes in and bytes out; [`encodings`] makes
//! rectangles of pixels; [`socket`] takes WebSocket frames off and puts them on. None of these
//! opens a socket. [`server`] does, with two threads per client.
//!
//! Not done: encryption (forward the port through SSH), the Tight and CopyRect encodings, the
//! clipboard, resizing by the client.

pub mod encodings;
pub mod protocol;
pub mod server;
pub mod socket;

pub use server::{Config, Server};
