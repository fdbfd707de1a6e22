//! `message.html`: the Markdown of a message as safe HTML, of a bounded size.
//!
//! Markdown can ask for much with little: lists in lists, a long link named a thousand times. What would be too large is shown
//! as text, and what is too large even so has no HTML. Tables are text: a short one may have a million cells.

use std::borrow::Cow;
use std::fmt::{self, Write};

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd};

use crate::limits;

/// `<p>` and `</p>` with a line break, as JSON.
const PARAGRAPH_BYTES: usize = 9;

/// Renders Markdown. HTML in the text is shown as text, and links lead to the web or to mail and nowhere else.
pub fn render(text: &str) -> String {
    if text.is_empty() || text.len() + PARAGRAPH_BYTES > limits::HTML_BYTES_MAX {
        return String::new();
    }
    if is_plain(text) {
        return format!("<p>{text}</p>\n");
    }
    markdown(text).or_else(|_| escaped(text)).unwrap_or_default()
}

fn markdown(text: &str) -> Result<String, fmt::Error> {
    let events = Parser::new_ext(text, Options::ENABLE_STRIKETHROUGH).map(|event| match event {
        Event::Html(html) | Event::InlineHtml(html) => Event::Text(html),
        Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
        Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            Event::Start(Tag::Link { link_type, dest_url: safe_url(dest_url), title, id })
        }
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            Event::Start(Tag::Image { link_type, dest_url: safe_url(dest_url), title, id })
        }
        other => other,
    });
    written(text, events)
}

fn escaped(text: &str) -> Result<String, fmt::Error> {
    let events = [Event::Start(Tag::Paragraph), Event::Text(text.into()), Event::End(TagEnd::Paragraph)];
    written(text, events.into_iter())
}

fn written<'a>(text: &str, events: impl Iterator<Item = Event<'a>>) -> Result<String, fmt::Error> {
    let mut html = Bounded { text: String::with_capacity(text.len() + 16), json_bytes: 0 };
    pulldown_cmark::html::write_html_fmt(&mut html, events)?;
    Ok(html.text)
}

/// A text that takes no more than it may have.
struct Bounded {
    text: String,
    /// As JSON: quotes and line breaks take two bytes, other control characters six.
    json_bytes: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let in_json = |byte: u8| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
            0..0x20 => 6,
            _ => 1,
        };
        self.json_bytes += more.bytes().map(in_json).sum::<usize>();
        if self.json_bytes > limits::HTML_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.text.push_str(more);
        Ok(())
    }
}

/// One line of letters, digits, spaces and commas: most messages. Nothing in it means anything to Markdown or HTML.
fn is_plain(text: &str) -> bool {
    let harmless = |c: char| c.is_alphanumeric() || matches!(c, ' ' | ',' | '?' | ':' | ';' | '%' | '\'');
    // A number in front could begin a list, spaces around could begin code or be cut off.
    text.starts_with(char::is_alphabetic) && !text.ends_with(' ') && text.chars().all(harmless)
}

fn safe_url(url: CowStr<'_>) -> CowStr<'_> {
    let lower: Cow<'_, str> = url.trim_start().to_ascii_lowercase().into();
    let scheme = lower.split_once(':').map(|(scheme, _)| scheme);
    match scheme {
        None | Some("http" | "https" | "mailto") => url,
        Some(scheme) if scheme.contains(['/', '?', '#']) => url,
        Some(_) => CowStr::Borrowed("#"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_html() {
        assert_eq!(render("hello"), "<p>hello</p>\n");
        assert_eq!(render("hello, *you* <b>there</b>"), "<p>hello, <em>you</em> &lt;b&gt;there&lt;/b&gt;</p>\n");
        assert_eq!(render("<b>bold</b>"), "<p>&lt;b&gt;bold&lt;/b&gt;</p>\n");
        assert_eq!(render("<div>\nx</div>"), "<p>&lt;div&gt;\nx&lt;/div&gt;</p>\n");
        assert_eq!(render(""), "");
    }

    #[test]
    fn the_short_way_gives_what_the_long_way_gives() {
        for text in ["hello", "what, now?", "Ünïcödé: 50%", "it's fine; really", "a  b", "hello 1"] {
            assert!(is_plain(text), "{text}");
            let mut long = String::new();
            pulldown_cmark::html::push_html(&mut long, Parser::new(text));
            assert_eq!(render(text), long, "{text}");
        }
        for text in ["1. one", " code", "a\nb", "# head", "end ", "a*b*", "https://x.y", "a & b", "<x>"] {
            assert!(!is_plain(text), "{text}");
        }
    }

    #[test]
    fn much_is_not_made_of_little() {
        let table = format!("|{}\n|{}\n{}", "a|".repeat(900), "-|".repeat(900), "|\n".repeat(700));
        let link = format!("[a]: /{}\n\n{}", "x".repeat(2_000), "[a]".repeat(900));
        for text in [table, link, "* ".repeat(2_500), "> ".repeat(2_500), "*a_".repeat(1_600), "[](".repeat(1_600)] {
            let html = render(&text);
            assert!(!html.is_empty());
            assert!(serde_json::to_string(&html).unwrap().len() <= limits::HTML_BYTES_MAX + 2, "{}", html.len());
        }
        assert_eq!(render(&"\u{1}".repeat(5_000)), "", "six bytes each");
        assert_ne!(render(&"語".repeat(5_000)), "");
    }

    proptest::proptest! {
        #[test]
        fn html_is_bounded(text in "[a*_>|`#\\[\\]()!\n \"-]{0,400}", times in 1_usize..60) {
            let html = render(&text.repeat(times));
            proptest::prop_assert!(serde_json::to_string(&html).unwrap().len() <= limits::HTML_BYTES_MAX + 2);
        }
    }

    #[test]
    fn nothing_runs() {
        for text in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](  javascript:alert(1))",
            "[x](data:text/html;base64,PHNjcmlwdD4=)",
            "![x](vbscript:x)",
            "<javascript:alert(1)>",
            "a <svg/onload=alert(1)> b",
        ] {
            let html = render(text).to_ascii_lowercase();
            for evil in ["<script", "<img src=x", "<svg", "href=\"javascript", "href=\"data", "src=\"vbscript"] {
                assert!(!html.contains(evil), "{text} -> {html}");
            }
        }
        assert!(render("[x](https://example.org/a?b=c)").contains("href=\"https://example.org/a?b=c\""));
        assert!(render("[x](/a:b)").contains("href=\"/a:b\""));
    }
}
