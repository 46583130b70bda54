import Client
import Foundation
import Model
import TestSupport
import Testing
import Vault

@testable import Catalog
@testable import Console
@testable import Server

/// What pages say when not all is well.
@Suite("The console on a bad day", .serialized)
struct BadDayTests {
    private static func report(
        _ fixture: ConsoleFixture, _ name: String, _ change: (inout MachineReport) -> Void = { _ in }
    ) -> MachineReport {
        let now = fixture.clock.now
        var report = MachineReport(
            activity: .idle, time: now, run: .random(), sequence: 1, boot: .random(), hostName: name,
            program: "holdfast", kernel: "6.1.0")
        report.newest = .init(point: .random(), number: 1, time: now)
        change(&report)
        return report
    }

    @Test("a paused machine makes no page green")
    func paused() throws {
        let fixture = try ConsoleFixture()
        for name in ["anna", "bert", "carl"] {
            let (machine, _) = try fixture.machine(name, [[.file("/f")]])
            let report = Self.report(fixture, name) { if name == "carl" { $0.activity = .paused } }
            _ = fixture.core.life.take(report, of: machine.id, at: fixture.clock.now)
        }
        try fixture.account("owner", .owner)
        let cookie = try fixture.signIn("owner")
        for target in ["/", "/reports"] {
            let page = try fixture.get(target, cookie).text
            #expect(page.contains("2 of 3 machines are protected, 1 is paused."), "\(target)")
            #expect(page.contains("verdict warn") && !page.contains("verdict good"), "\(target)")
        }
        let list = try fixture.get("/machines?state=unprotected", cookie).text
        #expect(list.contains(">carl</a>") && !list.contains(">anna</a>"))
    }

    @Test("a page that was opened before there was a machine has a live part for all that comes with the first")
    func firstMachine() throws {
        func parts(_ page: String) -> Set<String> {
            Set(page.matches(of: /<[^>]* id="([^"]+)"[^>]* data-live[^>]*>/).map { String($0.1) })
        }
        let fixture = try ConsoleFixture()
        try fixture.account("owner", .owner)
        let cookie = try fixture.signIn("owner")
        let before = try fixture.get("/", cookie).text
        #expect(before.contains("No machine is protected yet") && before.contains("The first hour"))
        let (machine, _) = try fixture.machine("anna", [[.file("/f")]])
        _ = fixture.core.life.take(Self.report(fixture, "anna"), of: machine.id, at: fixture.clock.now)
        let after = try fixture.get("/", cookie).text
        #expect(after.contains("The machine is protected."))
        #expect(parts(before) == parts(after) && parts(after).isSuperset(of: ["standing", "beginning", "figures"]))
        // Nothing that changes stands beside them.
        let changing = ["No machine is protected yet", "The first hour: "]
        for text in changing {
            let start = try #require(before.range(of: text)).lowerBound
            let opening = try #require(before[..<start].range(of: "data-live", options: .backwards)).lowerBound
            #expect(!before[opening..<start].contains("</div>"), "\(text)")
        }
    }

    @Test("of a machine that is not heard of nobody knows the lag, and it is worse than all others")
    func unheard() throws {
        let fixture = try ConsoleFixture()
        let (gone, _) = try fixture.machine("gone", [[.file("/f")]])
        let (late, _) = try fixture.machine("late", [[.file("/f")]])
        _ = fixture.core.life.take(Self.report(fixture, "gone"), of: gone.id, at: fixture.clock.now)
        fixture.clock.advance(seconds: 10 * 86_400)
        _ = fixture.core.life.take(
            Self.report(fixture, "late") { $0.lag = 120_000_000_000 }, of: late.id, at: fixture.clock.now)
        let owner = try fixture.account("owner", .owner)
        let cookie = try fixture.signIn("owner")
        for target in ["/", "/reports"] {
            let page = try fixture.get(target, cookie).text
            #expect(page.contains(">unknown (1 machine not heard of)</a>"), "\(target)")
        }
        let list = try fixture.get("/machines?sort=-lag", cookie).text
        let first = try #require(list.range(of: ">gone</a>"))
        let second = try #require(list.range(of: ">late</a>"))
        #expect(first.lowerBound < second.lowerBound && list.contains("#activity\">unknown</a>"))
        #expect(list.contains("#activity\">2 minutes</a>"))
        #expect(try fixture.get("/machines/\(gone.id.hex)", cookie).text.contains("<a href=\"#activity\">unknown</a>"))
        let told = try fixture.json("GET", "/api/v1/reports/protection", try fixture.token(owner))
        #expect(told["lag_unknown"] as? Int == 1 && told["lag_worst"] == nil)
        // One that said that it sleeps changes nothing meanwhile.
        _ = fixture.core.life.take(
            Self.report(fixture, "gone") { $0.activity = .asleep }, of: gone.id, at: fixture.clock.now)
        fixture.clock.advance(seconds: 240)
        let overview = try fixture.get("/", cookie).text
        #expect(overview.contains("<dt>Worst</dt><dd><a href=\"/machines?sort=-lag\">2 minutes</a>"))
    }
}
