#![forbid(unsafe_code)]
//! Simulates backends, loads and nginx's workers, and the rules of the module between them.

mod backend;
mod catalog;
mod load;
mod simulation;
mod strategies;
mod table;
mod time;

#[cfg(test)]
mod promises;

use strategies::Kind;

fn main() {
    let known = || [catalog::plain(), catalog::known()].concat();
    let everything = || [known(), catalog::unseen()].concat();

    match std::env::args().nth(1).as_deref() {
        Some("table") => {
            let others = [Kind::Second, Kind::Hint, Kind::Tenth, Kind::Auto];
            table::compare(&known(), &others, 3);
        }
        Some("unseen") => {
            table::compare(&catalog::unseen(), &[Kind::Second, Kind::Tenth, Kind::Auto], 3);
        }
        Some("goal") => table::goal(&catalog::plain(), 3),
        Some("more") => table::more(&everything(), 6),
        Some("watched") => table::watched(&everything()),
        _ => {
            eprintln!("usage: learn table|unseen|goal|more|watched");
            std::process::exit(2);
        }
    }
}
