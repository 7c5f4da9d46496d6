#![cfg(reelvault_shuttle)]
//! stub
