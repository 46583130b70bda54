import Browsing

/// What changed from one text to another, as it is shown.
enum DifferenceView {
    static func show(_ old: String, _ new: String) -> HTML {
        let lines: [HTML] = TextDifference.lines(old, new).map { line in
            switch line {
            case .same(let text): "<span>  \(text)</span>"
            case .removed(let text): "<del>- \(text)</del>"
            case .added(let text): "<ins>+ \(text)</ins>"
            case .skipped(let count): "<span class=\"skip-lines\">\(count) equal lines</span>"
            }
        }
        if lines.isEmpty { return "<p>The text is the same.</p>" }
        return "<pre class=\"difference\" tabindex=\"0\">\(HTML.joined(lines, by: "\n"))</pre>"
    }
}
