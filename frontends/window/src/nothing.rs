//! On systems without X11 there is nothing beside minifb.

use screen::KeyCode;

#[expect(dead_code, reason = "the same as with X11; none of it happens")]
pub(crate) enum Happening {
    Key(KeyCode, bool),
    Button(u8, bool),
    Motion(i32, i32),
    Uncovered,
    Left,
}

/// There is none.
pub(crate) enum X11 {}

impl X11 {
    pub(crate) fn beside(_window: &minifb::Window) -> Option<X11> {
        None
    }
    #[cfg(unix)]
    pub(crate) fn line(&self) -> std::os::fd::BorrowedFd<'_> {
        match *self {}
    }
    pub(crate) fn put(&mut self, _pixels: &[u32], _width: usize, _rows: std::ops::Range<usize>) -> bool {
        match *self {}
    }
    pub(crate) fn poll(&mut self) -> Vec<Happening> {
        match *self {}
    }
    pub(crate) fn grab(&mut self) -> bool {
        match *self {}
    }
    pub(crate) fn pointer(&self) -> Option<(f32, f32)> {
        match *self {}
    }
    pub(crate) fn release(&mut self) {
        match *self {}
    }
    pub(crate) fn screen_size(&self) -> (usize, usize) {
        match *self {}
    }
    pub(crate) fn resize(&mut self, _size: (usize, usize)) {
        match *self {}
    }
    pub(crate) fn full_screen(&mut self, _full: bool) {
        match *self {}
    }
}
