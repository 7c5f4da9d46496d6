//! Small texts: escaping in addresses and in HTML, dates.

use std::fmt::Write;

/// A text as it stands in an address: all but letters, digits and `-._~` escaped.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A part of a query, unescaped; `None` if it is no UTF-8, or an escape is broken.
pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
                out.push((digit()? * 16 + digit()?) as u8);
            }
            b'+' => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok()
}

/// A text in HTML.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A day as `2026-11-25`; days are counted from 1970-01-01. The calendar of the proleptic Gregorian years (Hinnant, `civil_from_days`).
pub(crate) fn day(days: u32) -> String {
    let z = i64::from(days) + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * m + 2) / 5 + 1;
    let month = if m < 10 { m + 3 } else { m - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A time as `2026-11-25 12:30 UTC`.
pub(crate) fn minute(ms: u64) -> String {
    let days = u32::try_from(ms / 86_400_000).unwrap_or(u32::MAX);
    let minutes = ms / 60_000 % 1_440;
    format!("{} {:02}:{:02} UTC", day(days), minutes / 60, minutes % 60)
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_go_both_ways_and_broken_ones_are_refused() {
        let odd = "a b/ü%&=+\u{7f}";
        assert_eq!(unescape(&escape(odd)).as_deref(), Some(odd));
        for bad in ["%", "%1", "%zz", "%ff", "%+1"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
        assert_eq!(html("<a href='\"&'>"), "&lt;a href=&#39;&quot;&amp;&#39;&gt;");
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, text) in
            [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_782, "2026-11-25")]
        {
            assert_eq!(day(days), text);
        }
        assert_eq!(minute(1_795_610_580_000), "2026-11-25 12:43 UTC");
    }
}
