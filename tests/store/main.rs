//! The store on a real Postgres: what it keeps, refuses, orders and forgets.

mod composites;
mod deletion;
mod fixture;
mod kinds;
mod model;
mod property;
mod reads;
mod secrets;
mod sharing;
mod writes;
