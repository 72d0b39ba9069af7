//! The one place that touches mio and the clock.
