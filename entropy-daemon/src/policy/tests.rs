//! Policy files from text to policies.

mod examples;
mod hostile;
mod right;
mod wrong;
