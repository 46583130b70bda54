import Catalog
import Client
import Model
import Server

/// The frame around every page.
enum Layout {
    /// What stands in the navigation: only what is there, and what the account may see.
    private static let places: [(path: String, title: String, right: AccountRight)] = [
        ("/", "Overview", .seeStates), ("/machines", "Machines", .seeStates), ("/alerts", "Alerts", .seeStates),
        ("/jobs", "Jobs", .seeStates), ("/vault", "Vault", .seeStates), ("/enrolment", "Enrolment", .manageMachines),
        ("/accounts", "Accounts", .manageAccounts), ("/audit", "Audit", .seeAudit),
    ]

    static func page(_ title: String, _ visit: Visit, wide: Bool = false, _ content: HTML) -> ServerAnswer {
        let links: [HTML] = places.filter { visit.may($0.right) }.map { place in
            let isHere = place.path == "/" ? visit.request.path == "/" : visit.request.path.hasPrefix(place.path)
            return isHere
                ? "<a href=\"\(place.path)\" aria-current=\"page\">\(place.title)</a>"
                : "<a href=\"\(place.path)\">\(place.title)</a>"
        }
        let account: HTML =
            visit.visitor.map { visitor in
                """
                <form method="post" action="/sign-out" class="account">
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
            <body><a class="skip" href="#content">To the content</a>
            <header><a class="mark" href="/"><img src="\(Assets.icon.path)" alt="" width="24" height="24">Holdfast</a>
            <nav aria-label="Pages">\(links)</nav>\(account)</header>
            <main id="content"\(wide ? " class=\"wide\"" : .nothing)><h1>\(title)</h1>\(content)</main>
            <footer>Holdfast \(ProgramVersion.current)</footer></body></html>
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
        return "<time datetime=\"\(text)\" title=\"\(text)\">\(relative(now.since(time)))</time>"
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

    static func size(_ bytes: UInt64) -> HTML {
        "<span class=\"number\" title=\"\(bytes) bytes\">\(Units.binarySize(bytes))</span>"
    }

    /// Says that there is nothing, and what to do first.
    static func empty(_ title: String, _ what: HTML) -> HTML { "<div class=\"empty\"><h2>\(title)</h2>\(what)</div>" }

    static func formToken(_ visit: Visit) -> HTML {
        "<input type=\"hidden\" name=\"form\" value=\"\(visit.visitor?.formToken ?? "")\">"
    }
}
