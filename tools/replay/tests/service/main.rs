//! The service as its clients meet it.
//!
//! All in one program: as many as there are files would take longer to link than to run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(clippy::disallowed_methods, reason = "tests look at the files themselves")]

mod a_host_and_its_certificate_belong_to_one_site;
mod a_replay_stops_when_its_client_goes_away;
mod an_id_that_is_used_again_names_each_session;
mod backups_are_served_where_they_lie;
mod common;
mod damage_stays_where_it_is;
mod monitoring_names_figures_that_there_are;
mod no_client_holds_the_service_up;
mod nobody_gets_in_who_may_not;
mod people_sign_in_and_out;
mod people_sign_in_at_an_issuer;
mod requests_that_play_tricks_are_refused;
mod sessions_are_listed_and_played;
mod the_document_says_what_the_service_does;
mod what_is_done_is_recorded_and_done_for_good;
