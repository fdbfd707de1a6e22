//! `message.html`: the Markdown of a message as safe HTML.

use std::borrow::Cow;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd};

/// Renders Markdown. HTML in the text is shown as text, and links lead to the web or to mail and nowhere else.
pub fn render(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    if is_plain(text) {
        return format!("<p>{text}</p>\n");
    }
    let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES;
    let events = Parser::new_ext(text, options).map(|event| match event {
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
    let mut html = String::with_capacity(text.len() + 16);
    pulldown_cmark::html::push_html(&mut html, events);
    html
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
