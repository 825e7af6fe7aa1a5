//! A mobile number in the two parts that Juspay expects: country code and national number.
//!
//! Claims hold one number in the international format (E.164), often with spaces. The country codes of
//! the ITU (E.164, Annex D) form a prefix code: the first two digits say how long the code is. So this
//! file has no list of countries, and does not decide whether a number is in use. The crate `phonenumber`
//! does, with the numbering plans of all countries: they age between releases, and would reject new numbers.

use std::fmt;

/// The lengths of E.164: at most 15 digits, country code included. No country has shorter national
/// numbers than four digits.
const MAX_DIGITS: usize = 15;
const MIN_NATIONAL_DIGITS: usize = 4;

/// The first two digits of country codes with two digits. All codes of one digit begin with 1 or 7; all
/// others have three.
const TWO_DIGITS: [&str; 44] = [
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47",
    "48", "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65",
    "66", "81", "82", "84", "86", "90", "91", "92", "93", "94", "95", "98",
];

/// The first two digits that no country code has.
const UNASSIGNED: [&str; 3] = ["28", "83", "89"];

/// A mobile number. `Debug` doesn't show it.
#[derive(Clone, PartialEq, Eq)]
pub struct MobileNumber {
    digits: Box<str>,
    /// How many of the digits are the country code.
    code_length: u8,
}

impl MobileNumber {
    /// Parses a number in the international format: `+919876543210`, or with the visual separators of
    /// RFC 3966 and spaces, as in `+1 (425) 555-1212` (OpenID Connect Core §5.1).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.trim().strip_prefix('+')?;
        let is_separator = |c: &char| matches!(c, ' ' | '-' | '.' | '(' | ')');
        let digits: Box<str> = number.chars().filter(|c| !is_separator(c)).collect();
        let is_number = digits.len() <= MAX_DIGITS && digits.bytes().all(|it| it.is_ascii_digit());
        let code_length = code_length(digits.get(..2).filter(|_| is_number)?)?;
        let national = digits.get(code_length.into()..)?;
        (national.len() >= MIN_NATIONAL_DIGITS).then_some(Self { digits, code_length })
    }

    /// The country code, without a plus sign.
    #[must_use]
    pub fn country_code(&self) -> &str {
        self.digits.get(..self.code_length.into()).unwrap_or_default()
    }

    /// The number within the country.
    #[must_use]
    pub fn national(&self) -> &str {
        self.digits.get(self.code_length.into()..).unwrap_or_default()
    }
}

impl fmt::Debug for MobileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MobileNumber(…)")
    }
}

/// The length of the country code of numbers that begin with these two digits.
fn code_length(first: &str) -> Option<u8> {
    if first.starts_with('0') || UNASSIGNED.contains(&first) {
        None
    } else if first.starts_with(['1', '7']) {
        Some(1)
    } else if TWO_DIGITS.contains(&first) {
        Some(2)
    } else {
        Some(3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every country code in use, by Google's libphonenumber 9 (the regions of
    /// `COUNTRY_CODE_TO_REGION_CODE` in the Python package `phonenumbers`).
    const COUNTRY_CODES: &str = "\
        1 20 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 \
        236 237 238 239 240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255 256 257 \
        258 260 261 262 263 264 265 266 267 268 269 27 290 291 297 298 299 30 31 32 33 34 350 \
        351 352 353 354 355 356 357 358 359 36 370 371 372 373 374 375 376 377 378 380 381 382 \
        383 385 386 387 389 39 40 41 420 421 423 43 44 45 46 47 48 49 500 501 502 503 504 505 \
        506 507 508 509 51 52 53 54 55 56 57 58 590 591 592 593 594 595 596 597 598 599 60 61 62 \
        63 64 65 66 670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 \
        691 692 7 800 808 81 82 84 850 852 853 855 856 86 870 878 880 881 882 883 886 888 90 91 \
        92 93 94 95 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 98 \
        992 993 994 995 996 998";

    fn parts(text: &str) -> Option<(String, String)> {
        let number = MobileNumber::parse(text)?;
        Some((number.country_code().to_owned(), number.national().to_owned()))
    }

    #[test]
    fn every_country_code_is_recognized() {
        assert!(COUNTRY_CODES.split(' ').count() > 200);
        for code in COUNTRY_CODES.split(' ') {
            // The digit after the code must not change its length.
            for next in 0..=9 {
                let national = format!("{next}2345678");
                let expected = Some((code.to_owned(), national.clone()));
                assert_eq!(parts(&format!("+{code}{national}")), expected, "{code} {next}");
            }
        }
    }

    #[test]
    fn separators_are_removed() {
        for (text, code, national) in [
            ("+919876543210", "91", "9876543210"),
            (" +91 98765 43210 ", "91", "9876543210"),
            ("+1 (425) 555-1212", "1", "4255551212"),
            ("+56 (2) 687 2400", "56", "26872400"),
            ("+44.7911.123456", "44", "7911123456"),
            // The zero is a part of Italian numbers.
            ("+39 06 698 12345", "39", "0669812345"),
            ("+2901234", "290", "1234"),
            ("+123456789012345", "1", "23456789012345"),
        ] {
            let expected = Some((code.to_owned(), national.to_owned()));
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_numbers() {
        for text in [
            "",
            "+",
            "+9",
            "9876543210",
            "00919876543210",
            "tel:+919876543210",
            "++919876543210",
            "+91 98765 43210;ext=5",
            "+91 98765 4321a",
            "+9१9876543210",
            "+0919876543210",
            "+2812345678",
            "+8312345678",
            "+8912345678",
            "+91123",
            "+1234567890123456",
            "+91/9876543210",
            "+91\u{a0}9876543210",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
