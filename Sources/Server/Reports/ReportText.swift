import Catalog
package import Model
import Vault

/// A report as a mail: text, and the same as a simple page.
package struct ReportText: Sendable {
    private let report: ProtectionReport
    private let zone: TimeZoneRules
    /// Where the console is, for links; `nil` where nobody has said.
    private let address: String?

    package init(_ report: ProtectionReport, zone: TimeZoneRules, address: String?) {
        self.report = report
        self.zone = zone
        self.address = address
    }

    /// Machines that are named one by one.
    private static let mostNamed = 50

    package var subject: String { "\(report.title): \(report.verdict)" }

    /// A heading with lines of two parts.
    private struct Part {
        var title: String
        var lines: [(String, String)]
    }

    package static func word(_ condition: MachineCondition) -> String {
        switch condition {
        case .protected: "protected"
        case .behind: "catching up"
        case .warnings: "completed with issues"
        case .problem: "at risk"
        case .asleep: "asleep"
        case .beginning: "first backup"
        case .paused: "paused"
        case .silent: "offline"
        case .lost: "offline too long"
        case .unreported: "never reported"
        case .waiting: "waiting for approval"
        case .retired: "retired"
        }
    }

    private func time(_ time: Timestamp) -> String { TimeText.localMinute(time, in: zone) }

    private var parts: [Part] {
        var parts: [Part] = []
        let states = MachineCondition.allCases.filter { report.counts[$0, default: 0] > 0 }
        var protection = states.map { ("\(report.counts[$0, default: 0])", Self.word($0)) }
        if report.lag != LagSummary([]) {
            func span(_ lag: Int64?) -> String? { lag.map { $0 <= 0 ? "none" : Units.span(nanoseconds: UInt64($0)) } }
            let worst = span(report.lag.worst) ?? report.lag.unknownText
            protection.append(("lag", "median \(span(report.lag.median) ?? "unknown"), worst \(worst)"))
        }
        parts.append(Part(title: "Protection", lines: protection))
        for (title, machines) in [
            ("Machines that need somebody", report.needing), ("Not protected now", report.exposed),
        ] where !machines.isEmpty {
            parts.append(
                Part(
                    title: title,
                    lines: machines.prefix(Self.mostNamed).map { machine in
                        let last = machine.newest.map { "last point \(time($0))" } ?? "no point yet"
                        let problem = machine.problem.map { ": \(TreePath.display($0.utf8))" } ?? ""
                        return (
                            TreePath.display(machine.name.utf8), "\(Self.word(machine.condition)), \(last)\(problem)"
                        )
                    } + (machines.count > Self.mostNamed ? [("…", "and \(machines.count - Self.mostNamed) more")] : []))
            )
        }
        parts.append(Part(title: "Alerts", lines: alerts))
        let work = report.work.map { work -> (String, String) in
            let failed = work.failed > 0 ? ", \(work.failed) failed" : ""
            return (work.kind, "\(work.done) done\(failed)\(work.running > 0 ? ", \(work.running) running" : "")")
        }
        if !work.isEmpty { parts.append(Part(title: "Work since \(time(report.since))", lines: work)) }
        parts.append(Part(title: "Storage", lines: storage))
        return parts
    }

    private var alerts: [(String, String)] {
        var lines = [
            ("\(report.raised.count)", "raised since \(time(report.since))"), ("\(report.open.count)", "open now"),
        ]
        lines += report.open.prefix(20).map { ($0.severity == .critical ? "critical" : "warning", $0.text) }
        if report.open.count > 20 { lines.append(("…", "and \(report.open.count - 20) more")) }
        return lines
    }

    private var storage: [(String, String)] {
        if let trouble = report.vaultTrouble { return [("trouble", trouble)] }
        var lines = [("stored", "\(Units.binarySize(report.stored)) in \(Units.count(report.points, "point"))")]
        if let before = report.storedBefore {
            let change =
                report.stored >= before
                ? "\(Units.binarySize(report.stored - before)) more"
                : "\(Units.binarySize(before - report.stored)) less"
            lines.append(("change", "\(change) than a week before"))
        }
        if let space = report.space {
            lines.append(("room", "\(Units.binarySize(space.available)) of \(Units.binarySize(space.total)) left"))
        }
        lines.append(("outlook", Self.words(report.outlook)))
        return lines
    }

    package static func words(_ outlook: UsageHistory.Outlook) -> String {
        switch outlook {
        case .tooEarly: "has not enough history yet to tell how it grows"
        case .steady: "does not grow"
        case .growing(let bytes, nil): "grows by \(Units.binarySize(bytes)) a day"
        case .growing(let bytes, let days?):
            days >= 3_650
                ? "grows by \(Units.binarySize(bytes)) a day; room for ten years and more"
                : "grows by \(Units.binarySize(bytes)) a day; full in \(Units.count(days, "day"))"
        }
    }

    package var text: String {
        var lines = [report.verdict, "\(report.title), \(time(report.time))", ""]
        for part in parts {
            lines.append(part.title)
            let width = min(part.lines.map(\.0.count).max() ?? 0, 32)
            for (name, value) in part.lines {
                lines.append("  " + name + String(repeating: " ", count: max(width - name.count, 0)) + "  " + value)
            }
            lines.append("")
        }
        if let address { lines.append("The console: \(address)") }
        return lines.joined(separator: "\n") + "\n"
    }

    // MARK: As a page

    private static func escaped(_ text: String) -> String {
        TreePath.display(text.utf8).replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(
            ">", with: "&gt;"
        )
        .replacing("\"", with: "&quot;")
    }

    package var html: String {
        let (colour, ground) =
            switch report.standing {
            case .good: ("#1d6b3a", "#e4f3e9")
            case .partial: ("#7a4f00", "#fdf1d8")
            case .bad: ("#b3261e", "#fbe6e4")
            }
        let cell = "padding:4px 12px 4px 0;vertical-align:top;border-top:1px solid #d8dfe0"
        var html = """
            <!doctype html><html lang="en"><head><meta charset="utf-8"><title>\(Self.escaped(subject))</title></head>
            <body style="font:16px/1.5 sans-serif;color:#1b2526;background:#ffffff;max-width:44em;margin:0 auto;padding:16px">
            <p style="font-size:20px;font-weight:bold;color:\(colour);background:\(ground);padding:12px 16px;border-radius:8px">\(Self.escaped(report.verdict))</p>
            <p style="color:#55646a">\(Self.escaped(report.title)), \(time(report.time))</p>

            """
        for part in parts {
            html +=
                "<h2 style=\"font-size:17px;margin:24px 0 6px\">\(Self.escaped(part.title))</h2>\n<table style=\"border-collapse:collapse;width:100%\">\n"
            for (name, value) in part.lines {
                html +=
                    "<tr><th style=\"text-align:left;font-weight:normal;color:#55646a;\(cell)\">\(Self.escaped(name))</th>"
                html += "<td style=\"\(cell)\">\(Self.escaped(value))</td></tr>\n"
            }
            html += "</table>\n"
        }
        if let address {
            html += "<p><a href=\"\(Self.escaped(address))\" style=\"color:#1f5f5b\">To the console</a></p>\n"
        }
        return html + "</body></html>\n"
    }
}
