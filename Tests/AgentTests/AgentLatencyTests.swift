import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Agent

/// Prints how long it takes from the end of a save to the acknowledgement of its point; asserts nothing of it.
@Suite("The agent's latency", .serialized, .enabled(if: canWatch))
struct AgentLatencyTests {
    @Test("a save is stored, and the time it took is printed", arguments: [0, 1.0])
    func latency(_ settle: Double) throws {
        guard let fixture = try AgentFixture() else { return }
        try fixture.start(settle: settle)
        var times: [Double] = []
        var random = SeededGenerator(seed: 1)
        for index in 0..<(settle == 0 ? 60 : 8) {
            let points = try #require(fixture.agent).status.points
            fixture.put("file-\(index % 10)", random.bytes(4_000))
            let begun = SystemClock.monotonic
            try fixture.waits { $0.points > points && $0.lag == 0 }
            times.append(Double(SystemClock.monotonic - begun) / 1e6)
            usleep(20_000)
        }
        times.sort()
        print(
            "save to durable in a directory vault, settle \(settle) s: p50 \(Int(times[times.count / 2])) ms, p95 "
                + "\(Int(times[times.count * 95 / 100])) ms")
        try fixture.checkNewest()
    }
}
