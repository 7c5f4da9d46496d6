//! Progress on standard error, where that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws in a second.
const HERTZ: u8 = 8;

/// A bar of bytes.
pub(crate) fn bytes(total: u64) -> ProgressBar {
    bar(total, "{bar:28} {bytes}/{total_bytes} {bytes_per_sec} {msg}")
}

/// A bar of things.
pub(crate) fn items() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(HERTZ));
    style(bar, "{spinner} {pos} {msg}")
}

/// Something that takes a while.
pub(crate) fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(HERTZ));
    let bar = style(bar, "{spinner} {msg} {elapsed}");
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(125));
    bar
}

fn bar(total: u64, template: &str) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(HERTZ);
    style(ProgressBar::with_draw_target(Some(total), target), template)
}

fn style(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
