import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Agent
@testable import Capture

@Suite("The round through all directories", .serialized, .enabled(if: canWatch))
struct RollingLookTests {
    @Test("what the watch was not told of is found by it: new, changed, gone, and below a new directory")
    func missed() throws {
        guard let fixture = try AgentFixture() else { return }
        for index in 0..<40 {
            mkdir("\(fixture.root)/d\(index)", 0o755)
            fixture.put("d\(index)/old", "old \(index)")
        }
        usleep(50_000)
        let isDeaf = Mutex(false)
        let drops: @Sendable ([UInt8]) -> Bool = { _ in isDeaf.withLock { $0 } }
        try fixture.start { configuration in
            configuration.rollingInterval = 40_000_000
            configuration.watching = { $0.drops = drops }
        }
        let scans = try #require(fixture.agent).status.scans
        isDeaf.withLock { $0 = true }
        for index in 0..<40 {
            switch index % 4 {
            case 0: fixture.put("d\(index)/new", "new \(index)")
            case 1: fixture.put("d\(index)/old", "changed \(index)")
            case 2: unlink("\(fixture.root)/d\(index)/old")
            default:
                mkdir("\(fixture.root)/d\(index)/below", 0o755)
                fixture.put("d\(index)/below/file", "below \(index)")
            }
        }
        let end = ContinuousClock.now + .seconds(60)
        while try !fixture.differences().isEmpty, ContinuousClock.now < end { usleep(100_000) }
        try fixture.checkNewest()
        let status = try #require(fixture.agent).status
        #expect(status.scans == scans, "no scan of everything helped")
        #expect(status.rollingFound >= 40)
        try fixture.checkSequence()
    }

    @Test("where nothing was missed it finds nothing, and makes no points")
    func nothing() throws {
        guard let fixture = try AgentFixture() else { return }
        for index in 0..<20 {
            mkdir("\(fixture.root)/d\(index)", 0o755)
            fixture.put("d\(index)/file", "text \(index)")
        }
        usleep(50_000)
        try fixture.start { $0.rollingInterval = 20_000_000 }
        fixture.put("d3/file", "changed")
        try fixture.settle()
        let points = try #require(fixture.agent).status.points
        usleep(1_500_000)
        #expect(try #require(fixture.agent).status.points == points)
        try fixture.checkNewest()
    }
}
