import Catalog
import Foundation
import Model
import TestSupport
import Testing

@testable import Server

@Suite("Reports, growth and mail")
struct ReportTests {
    private static let day: Int64 = 86_400_000_000_000

    @Test("of lags the median is the larger of two in the middle, and none is unknown")
    func lags() {
        #expect(LagSummary([]).median == nil && LagSummary([]).worst == nil)
        #expect(LagSummary([5]).median == 5)
        #expect(LagSummary([9, 1, 5, 3]) == LagSummary([1, 3, 5, 9]))
        #expect(LagSummary([9, 1, 5, 3]).median == 5 && LagSummary([9, 1, 5, 3]).worst == 9)
    }

    @Test("what is not known of a lag is worse than all that is")
    func unknownLags() {
        let some = LagSummary([3, nil, 1])
        #expect(some.median == 3 && some.worst == nil && some.unknownText == "unknown (1 machine not heard of)")
        let most = LagSummary([nil, 1, nil])
        #expect(most.median == nil && most.worst == nil && most.unknownText == "unknown (2 machines not heard of)")
        #expect(LagSummary([]).unknownText == "unknown" && LagSummary([0]).worst == 0)
    }

    private func report(_ conditions: [MachineCondition]) -> ProtectionReport {
        let time = Timestamp(seconds: 1_795_000_000)
        let machines = conditions.enumerated().map { index, condition in
            ProtectionReport.Machine(
                id: .random(), name: "m\(index)", group: "g", condition: condition, newest: nil, lag: nil, bytes: 0,
                stored: 0, problem: nil)
        }
        return ProtectionReport(
            title: "t", time: time, since: time, machines: machines,
            counts: Dictionary(conditions.map { ($0, 1) }, uniquingKeysWith: +), lag: LagSummary([1_000_000_000, nil]),
            raised: [], open: [], work: [], stored: 0, storedBefore: nil, points: 0, space: nil, outlook: .tooEarly,
            vaultTrouble: nil)
    }

    @Test("the sentence calls nobody protected who is not, and is green for all or not at all")
    func verdicts() {
        let cases: [([MachineCondition], ProtectionReport.Standing, String)] = [
            ([], .partial, "No machine is protected yet."),
            ([.protected], .good, "The machine is protected."),
            ([.paused], .partial, "The machine is paused."),
            ([.beginning], .partial, "The machine makes its first backup."),
            ([.lost], .bad, "The machine needs somebody."),
            ([.protected, .asleep, .warnings], .good, "All 3 machines are protected."),
            (
                [.protected, .protected, .protected, .paused, .behind], .partial,
                "3 of 5 machines are protected, 1 is paused, 1 is behind."
            ),
            (
                [.protected, .behind, .behind, .beginning, .beginning], .partial,
                "1 of 5 machines is protected, 2 are behind, 2 make their first backup."
            ),
            ([.paused, .paused], .partial, "None of 2 machines is protected, 2 are paused."),
            ([.protected, .lost, .problem, .paused], .bad, "2 of 4 machines need somebody, 1 is paused."),
            ([.protected, .silent], .bad, "1 of 2 machines needs somebody."),
        ]
        for (conditions, standing, verdict) in cases {
            #expect(report(conditions).verdict == verdict && report(conditions).standing == standing)
        }
        let mail = ReportText(report([.protected, .paused]), zone: .utc, address: nil)
        #expect(mail.subject == "t: 1 of 2 machines is protected, 1 is paused.")
        #expect(mail.text.contains("worst unknown (1 machine not heard of)"))
        #expect(mail.text.contains("Not protected now\n  m1  paused") && !mail.html.contains("#1d6b3a"))
        #expect(ReportText(report([.protected]), zone: .utc, address: nil).html.contains("#1d6b3a"))
    }

    private func history(days: Int, perDay: Double, available: UInt64 = 1_000_000, stepHours: Int = 6) -> UsageHistory {
        var history = UsageHistory()
        for hour in stride(from: 0, through: days * 24, by: stepHours) {
            history.add(
                UsageHistory.Sample(
                    time: Timestamp(seconds: 1_800_000_000 + Int64(hour) * 3_600),
                    stored: UInt64(1_000_000 + perDay * Double(hour) / 24), available: available, total: 10_000_000,
                    points: 1))
        }
        return history
    }

    @Test("days until full follow from measured growth, and are not told from too little")
    func growth() {
        #expect(UsageHistory().outlook == .tooEarly)
        #expect(history(days: 2, perDay: 50_000).outlook == .tooEarly)
        #expect(history(days: 10, perDay: 0).outlook == .steady)
        #expect(history(days: 10, perDay: -1_000).outlook == .steady)
        guard case .growing(let bytes, let left) = history(days: 10, perDay: 50_000).outlook else {
            Issue.record("it grows")
            return
        }
        #expect((49_900...50_100).contains(bytes) && (19...20).contains(left ?? 0))
        #expect(history(days: 10, perDay: 50_000).stored(daysAgo: 7) == 1_150_000)
        #expect(history(days: 2, perDay: 1).stored(daysAgo: 7) == nil)
    }

    @Test("old looks are thinned to one a day, and none is older than some years")
    func thinning() throws {
        let long = history(days: 500, perDay: 10, stepHours: 1)
        #expect(long.samples.count < 400 + 9 * 24)
        let last = try #require(long.samples.last)
        #expect(long.samples.allSatisfy { last.time.since($0.time) <= 400 * Self.day })
        #expect(try UsageHistory.decode(long.encoded()) == long)
        #expect(long.encoded().count < 64 << 10)
    }

    @Test("the week's report is due once, whatever happens between")
    func weeks() {
        var settings = WeeklyReport()
        settings.mailTo = ["ann@example.org"]
        settings.weekday = 1
        settings.hour = 7
        let zone = TimeZoneRules.utc
        // 2026-11-16 was a Monday.
        let monday = Timestamp(seconds: 1_794_787_200)
        func step(_ hours: Int64, _ sent: Int64?) -> WeeklyReport.Step {
            settings.step(at: monday.advanced(by: hours * 3_600_000_000_000), in: zone, sent: sent)
        }
        let number = Int64(zone.civil(monday).date.dayNumber)
        #expect(zone.civil(monday).date.weekday == 1)
        #expect(step(8, nil) == .begin(week: number), "what was before it was set up is not sent")
        #expect(step(6, number - 7) == .nothing)
        #expect(step(7, number - 7) == .send(week: number))
        #expect(step(7, number) == .nothing && step(48, number) == .nothing && step(7 * 24 + 6, number) == .nothing)
        #expect(step(7 * 24 + 7, number) == .send(week: number + 7))
        #expect(step(40, number - 7) == .send(week: number), "a server that was away sends it later")
        #expect(step(5 * 24, number - 7) == .begin(week: number), "but not days later")
        settings.mailTo = []
        #expect(step(7, number - 7) == .nothing)
    }

    @Test("a mail has both parts, one line for a subject, and the addresses it goes to")
    func mails() throws {
        let mail = Mail(to: ["a@b.c", "d@e.f"], subject: "Möwe\r\nBcc: x@y.z", text: "text äöü", html: "<p>page</p>")
        let text = Mailer.message(mail, from: "h@i.j", host: "here", now: Date(timeIntervalSince1970: 1_800_000_000))
        let head = text.components(separatedBy: "\n\n")[0]
        #expect(!head.lowercased().contains("\nbcc:"))
        #expect(head.contains("To: a@b.c, d@e.f\nFrom: h@i.j\n") && head.contains("multipart/alternative"))
        #expect(head.contains("Date: Fri, 15 Jan 2027 08:00:00 +0000"))
        #expect(text.contains(Data("text äöü".utf8).base64EncodedString()))
        #expect(text.contains(Data("<p>page</p>".utf8).base64EncodedString()))
    }

    @Test("what a mail server is told stands in orders that nobody else reads, and quotes end nothing")
    func orders() throws {
        let submission = MailSubmission(
            host: "mail.example.org", port: 587, security: .upgrade, user: "ann", password: "a\"b\\c")
        try submission.check()
        let orders = Mailer.orders(
            submission, Mail(to: ["x@y.z"], subject: "", text: ""), from: "h@i.j", file: "/tmp/mail")
        #expect(orders.contains("\nssl-reqd\n") && orders.contains("user = \"ann:a\\\"b\\\\c\"\n"))
        #expect(orders.contains("mail-rcpt = \"x@y.z\"\n"))
        for wrong in [
            MailSubmission(host: "mail.example.org", port: 25, security: .none),
            MailSubmission(host: "-o evil", port: 25, security: .implicit),
            MailSubmission(host: "a\nurl = \"file:///etc/shadow", port: 25, security: .implicit),
            MailSubmission(host: "a", port: 25, security: .implicit, user: "a\nb"),
            MailSubmission(host: "a", port: 25, security: .implicit, user: "a", password: "b\noutput=/etc/passwd"),
            MailSubmission(host: "a", port: 0, security: .implicit),
        ] {
            #expect(throws: (any Error).self) { try wrong.check() }
        }
        var settings = AlertSettings()
        settings.submission = submission
        let back = try AlertSettings.decode(settings.encoded())
        #expect(back.submission?.password == "a\"b\\c" && back.submission?.security == .upgrade)
        #expect(!"\(settings)".contains("a\"b"))
    }

    @Test("a page is told at once of the first change, then no more often than it should")
    func pace() {
        var pace = LivePace(seconds: 3)
        var pulse = LivePulse()
        // Seconds, and the alerts that there are then.
        let moments: [(Int64, UInt64)] = [(0, 0), (1, 1), (9, 1), (10, 2), (11, 3), (13, 3), (20, 3)]
        var told: [Int64] = []
        for (second, alerts) in moments {
            pulse.alerts = alerts
            if pace.isDue(pulse, second * 1_000_000_000) { told.append(second) }
        }
        #expect(told == [1, 10, 13])
    }

    @Test("pages that are kept fresh are bounded, in all and of one session, and give their place back")
    func places() {
        let views = Turnstile(maximum: 3, ofHolder: 2)
        var held = [views.enter("a"), views.enter("a")]
        #expect(held.allSatisfy { $0 != nil } && views.enter("a") == nil)
        let other = views.enter("b")
        #expect(other != nil && views.enter("c") == nil && views.count == 3)
        held.removeAll()
        #expect(views.count == 1 && views.enter("a") != nil)
        withExtendedLifetime(other) {}
    }

    @Test("a word of an event is one line")
    func events() {
        #expect(LiveEvent.text("change", "a\nevent: b\r\n\r\nc") == "event: change\ndata: a event: b c\n\n")
    }
}
