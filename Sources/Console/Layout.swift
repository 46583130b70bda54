import Catalog
import Client
import Model
import Server

/// The frame around every page.
enum Layout {
    /// What stands in the navigation: only what is there, and what the account may see.
    private struct Place {
        var path: String
        var title: String
        var right: AccountRight
        /// Only for those from whom no machine is hidden.
        var isOfAll = false
    }

    private static let places = [
        Place(path: MyFilesPage.path, title: "My files", right: .seeOwn),
        Place(path: "/", title: "Overview", right: .seeStates),
        Place(path: "/machines", title: "Machines", right: .seeStates),
        Place(path: "/alerts", title: "Alerts", right: .seeStates),
        Place(path: "/jobs", title: "Jobs", right: .seeStates),
        Place(path: "/policies", title: "Policies", right: .seeStates, isOfAll: true),
        Place(path: "/vault", title: "Vault", right: .seeStates, isOfAll: true),
        Place(path: "/reports", title: "Reports", right: .seeStates),
        Place(path: "/enrolment", title: "Enrolment", right: .manageMachines),
        Place(path: "/accounts", title: "Accounts", right: .manageAccounts),
        Place(path: "/audit", title: "Audit", right: .seeAudit),
        Place(path: "/settings", title: "Settings", right: .seeAudit, isOfAll: true),
    ]

    /// How many alerts wait for somebody, beside the word.
    private static func badge(_ visit: Visit) -> HTML {
        let count = (try? AlertPages.openCount(visit)) ?? 0
        return count == 0
            ? "<span id=\"alert-count\" data-live></span>"
            : "<span id=\"alert-count\" data-live><span class=\"badge\">\(count)<span class=\"unseen\"> open</span></span></span>"
    }

    /// When the page was made, by the server's clock.
    private static func served(_ visit: Visit) -> HTML {
        let text = TimeText.rfc3339(Timestamp(seconds: visit.now.seconds))
        return "<time datetime=\"\(text)\" data-now>\(TimeText.local(visit.now, in: visit.zone))</time>"
    }

    /// - Parameter feed: what keeps the page fresh while it is open; `nil` for one that stays as it is.
    static func page(
        _ title: String, _ visit: Visit, wide: Bool = false, feed: String? = nil, _ content: HTML
    ) -> ServerAnswer {
        let links: [HTML] = places.filter { visit.may($0.right) && (!$0.isOfAll || visit.seesAllMachines) }.map {
            place in
            let isHere = place.path == "/" ? visit.request.path == "/" : visit.request.path.hasPrefix(place.path)
            let mark: HTML = isHere ? " aria-current=\"page\"" : .nothing
            return
                "<a href=\"\(place.path)\"\(mark)>\(place.title)\(place.path == "/alerts" ? badge(visit) : .nothing)</a>"
        }
        let feedMark: HTML = feed.map { " data-feed=\"\($0)\"" } ?? .nothing
        let account: HTML =
            visit.visitor.map { visitor in
                let count = BasketPage.count(visit)
                let basket: HTML? = count > 0 ? "<a class=\"basket-link\" href=\"/basket\">Basket (\(count))</a>" : nil
                return """
                    <form method="post" action="/sign-out" class="account">\(basket)
                    <a href="/me">\(visitor.account.name)</a>
                    <input type="hidden" name="form" value="\(visitor.formToken)">
                    <button class="quiet">Sign out</button></form>
                    """
            } ?? .nothing
        return .page(
            """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>\(title) – Holdfast</title>
            <link rel="icon" type="image/svg+xml" href="\(Assets.icon.path)">
            <link rel="stylesheet" href="\(Assets.style.path)">
            <script type="module" src="\(Assets.script.path)"></script></head>
            <body\(feedMark)><a class="skip" href="#content">To the content</a>
            <header><a class="mark" href="/"><img src="\(Assets.icon.path)" alt="" width="24" height="24">Holdfast</a>
            <nav aria-label="Pages">\(links)</nav>\(account)</header>
            <main id="content"\(wide ? " class=\"wide\"" : .nothing)><h1>\(title)</h1>\(content)</main>
            <footer>Holdfast \(ProgramVersion.current), at \(served(visit))</footer><p id="live-note" role="status" hidden></p></body></html>
            """)
    }

    /// A page for who is not signed in.
    static func plain(_ title: String, _ content: HTML, status: Int = 200) -> ServerAnswer {
        .page(
            """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>\(title) – Holdfast</title>
            <link rel="icon" type="image/svg+xml" href="\(Assets.icon.path)">
            <link rel="stylesheet" href="\(Assets.style.path)"></head>
            <body class="plain"><main id="content"><div class="mark">
            <img src="\(Assets.icon.path)" alt="" width="32" height="32">Holdfast</div>
            <h1>\(title)</h1>\(content)</main></body></html>
            """, status: status)
    }
}

/// What went wrong, what it means, and what to do.
enum ErrorPage {
    static func answer(_ error: HoldfastError, _ visit: Visit) -> ServerAnswer {
        let status = Problem.status(of: error)
        let title =
            switch status {
            case 403, 401: "Not allowed"
            case 404: "Not found"
            case 429, 503: "Too much to do"
            case 400..<500: "That did not work"
            default: "The server failed at this"
            }
        let hint: HTML? = error.context["hint"].map { "<p>\($0)</p>" }
        let content: HTML =
            "<p class=\"error\" role=\"alert\">\(error.message)</p>\(hint)<p><a href=\"/\">To the overview</a></p>"
        var answer = visit.visitor == nil ? Layout.plain(title, content) : Layout.page(title, visit, content)
        answer.status = status
        return answer
    }
}

/// Small pieces that many pages use.
enum Piece {
    /// How something stands: a word and a mark as well as a colour.
    static func state(_ kind: String, _ word: String) -> HTML {
        "<span class=\"state \(kind)\"><span class=\"dot\" aria-hidden=\"true\"></span>\(word)</span>"
    }

    /// A relative time; the absolute one on hover, and for machines.
    static func time(_ time: Timestamp, now: Timestamp) -> HTML {
        let text = TimeText.rfc3339(Timestamp(seconds: time.seconds))
        return "<time datetime=\"\(text)\" title=\"\(text)\" data-relative>\(relative(now.since(time)))</time>"
    }

    static func relative(_ nanoseconds: Int64) -> String {
        let seconds = nanoseconds / 1_000_000_000
        let (text, isPast) = (span(abs(seconds)), seconds >= 0)
        if abs(seconds) < 2 { return "now" }
        return isPast ? "\(text) ago" : "in \(text)"
    }

    static func span(_ seconds: Int64) -> String {
        func counted(_ number: Int64, _ unit: String) -> String { "\(number) \(unit)\(number == 1 ? "" : "s")" }
        switch seconds {
        case ..<60: return counted(seconds, "second")
        case ..<3_600: return counted(seconds / 60, "minute")
        case ..<172_800: return counted(seconds / 3_600, "hour")
        case ..<5_184_000: return counted(seconds / 86_400, "day")
        default: return counted(seconds / 2_592_000, "month")
        }
    }

    /// How far something is behind, in nanoseconds; `nil` when nobody knows.
    static func lag(_ nanoseconds: Int64?) -> String {
        nanoseconds.map { $0 < 1_000_000_000 ? "none" : span($0 / 1_000_000_000) } ?? "unknown"
    }

    /// The sentence about all machines, in the colour of how serious it is, leading to those that it is about.
    static func verdict(_ report: ProtectionReport) -> HTML {
        switch report.standing {
        case .good: "<p class=\"verdict good\">\(report.verdict)</p>"
        case .partial where report.machines.isEmpty: "<p class=\"verdict warn\">\(report.verdict)</p>"
        case .partial:
            "<p class=\"verdict warn\"><a href=\"/machines?state=unprotected\">\(report.verdict)</a></p>"
        case .bad: "<p class=\"verdict bad\"><a href=\"/machines?state=attention\">\(report.verdict)</a></p>"
        }
    }

    static func size(_ bytes: UInt64) -> HTML {
        "<span class=\"number\" title=\"\(bytes) bytes\">\(Units.binarySize(bytes))</span>"
    }

    /// A sentence in which what stands between backquotes is for a terminal.
    static func prose(_ text: String) -> HTML {
        let parts = text.split(separator: "`", omittingEmptySubsequences: false).map(String.init)
        // One that has no other at its end is a letter like others.
        guard parts.count % 2 == 1 else { return "\(text)" }
        return HTML.joined(
            parts.enumerated().map { index, part in index % 2 == 0 ? "\(part)" : "<code>\(part)</code>" }, by: .nothing)
    }

    /// Says that there is nothing, and what to do first.
    static func empty(_ title: String, _ what: HTML) -> HTML { "<div class=\"empty\"><h2>\(title)</h2>\(what)</div>" }

    static func formToken(_ visit: Visit) -> HTML {
        "<input type=\"hidden\" name=\"form\" value=\"\(visit.visitor?.formToken ?? "")\">"
    }
}
