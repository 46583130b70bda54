import Foundation
import TestSupport
import Testing

/// The agent is killed at random instants while files change, and so is the server that it sends to. Seeds and rounds as of
/// `KillTests`.
@Suite("Kill -9 of the agent and its server", .serialized, .enabled(if: geteuid() == 0))
struct AgentKillTests {
    @Test("an agent that is killed under load loses nothing, and its points stay a dense sequence")
    func agent() throws {
        var place = try KillPlace("agent")
        defer { place.close() }
        try place.makeFiles()
        for round in 0..<(4 * KillPlace.rounds) {
            let agent = try place.start(["agent", "run", "--protect", place.files.path, "--settle", "0.05"])
            defer {
                agent.kill()
                agent.wait()
            }
            // Also while it looks at everything.
            if round % 4 != 0 { try waitForAgent(place) }
            let end = ContinuousClock.now + .milliseconds(Int.random(in: 0...1_500, using: &place.random))
            repeat {
                try place.changeFiles()
                usleep(UInt32.random(in: 0...50_000, using: &place.random))
            } while ContinuousClock.now < end
        }
        try checkHistory(place)
        let agent = try place.start(["agent", "run", "--protect", place.files.path, "--settle", "0.05"])
        defer {
            agent.kill()
            agent.wait()
        }
        try waitForAgent(place)
        try place.changeFiles()
        try place.run("backup", "--now")
        let tree = try place.tree()
        agent.signal(SIGTERM)
        #expect(agent.wait() == 0)
        try checkHistory(place)
        // Points in the middle restore too; what they hold was on the disk at some instant.
        let points = try place.run("points")
        for point in points.shuffled(using: &place.random).prefix(5) {
            let id = try #require(point["id"] as? String)
            let target = place.directory.appendingPathComponent("middle")
            let restored = try place.attempt("restore", id, "--to", target.path)
            // A file that was being written is said to have changed.
            #expect(restored.status == 0 || restored.status == 3, "\(place.context): \(restored.error)")
            try? FileManager.default.removeItem(at: target)
        }
        try place.checkVault(restoring: ["latest": tree])
    }

    @Test("an agent whose server is killed and comes back catches up alone, and every acknowledged point restores")
    func server() throws {
        var place = try KillPlace("agent and server")
        defer { place.close() }
        try place.makeFiles(60)
        let serverState = ["--state", place.directory.path + "/server-state"]
        let sheet = ["--key-sheet", place.directory.path + "/sheet"]
        let made = try place.attempt(["server", "init", "--vault", place.vault.path] + sheet + serverState)
        try #require(made.status == 0, "\(made.error)")
        let port = Int.random(in: 20_000...30_000, using: &place.random)
        let address = "https://127.0.0.1:\(port)"
        func serve() throws -> KillableProcess {
            try KillableProcess(
                ProgramFixture.program.path,
                ["server", "run", "--vault", place.vault.path, "--listen", "127.0.0.1", "--port", "\(port)"]
                    + serverState,
                environment: place.fixture.environment, output: place.directory.appendingPathComponent("server.log"))
        }
        var server = try serve()
        let code = try place.attempt(["server", "token", "--address", address] + serverState)
        let text = try #require(try ProgramFixture.objects(code).first?["code"] as? String)
        let file = place.directory.path + "/code"
        try Data((text + "\n").utf8).write(to: URL(fileURLWithPath: file))
        place.fixture.environment["HOLDFAST_STATE"] = place.directory.path + "/client-state"
        let end = ContinuousClock.now + .seconds(30)
        while try place.attempt("enrol", address, "--code-file", file).status != 0, ContinuousClock.now < end {
            usleep(100_000)
        }
        place.fixture.environment["HOLDFAST_VAULT"] = address
        let agent = try place.start(["agent", "run", "--protect", place.files.path, "--settle", "0.05"])
        defer {
            for process in [agent, server] {
                process.kill()
                process.wait()
            }
        }
        try waitForAgent(place)
        for _ in 0..<(3 * KillPlace.rounds) {
            for _ in 0..<6 {
                try place.changeFiles()
                usleep(UInt32.random(in: 0...120_000, using: &place.random))
            }
            server.kill()
            server.wait()
            try place.changeFiles()
            server = try serve()
        }
        // The agent finds the server again by itself; a request to store everything is answered once it has.
        var status = try place.attempt("backup", "--now")
        let limit = ContinuousClock.now + .seconds(90)
        while status.status != 0, ContinuousClock.now < limit {
            usleep(500_000)
            status = try place.attempt("backup", "--now")
        }
        #expect(status.status == 0, "\(place.context): \(status.error)")
        let tree = try place.tree()
        try checkHistory(place)
        let target = place.directory.appendingPathComponent("newest")
        let restored = try KillableProcess(
            ProgramFixture.program.path, ["restore", "latest", "--to", target.path],
            environment: place.fixture.environment, output: place.directory.appendingPathComponent("restore.log")
        ).wait()
        #expect(restored == 0)
        #expect(try FileTree(target.path + place.files.path).differences(from: tree) == [], "\(place.context)")
        agent.signal(SIGTERM)
        #expect(agent.wait() == 0)
    }

    private func waitForAgent(_ place: KillPlace) throws {
        let end = ContinuousClock.now + .seconds(60)
        var answer = try place.attempt("agent", "status")
        while ContinuousClock.now < end {
            let status = try ProgramFixture.objects(answer).first
            if answer.status != 1, (status?["scans"] as? Int ?? 0) > 0 { return }
            usleep(50_000)
            answer = try place.attempt("agent", "status")
        }
        let log = try? String(contentsOf: place.directory.appendingPathComponent("killed.log"), encoding: .utf8)
        Issue.record("\(place.context): no agent: \(answer.text)\(answer.error)\(log ?? "")")
    }

    /// One incarnation, numbers without a gap, and every number once.
    private func checkHistory(_ place: KillPlace) throws {
        let points = try place.run("points")
        #expect(Set(points.compactMap { $0["incarnation"] as? String }).count == 1, "\(place.context)")
        let numbers = points.compactMap { $0["number"] as? Int }.sorted()
        #expect(numbers == Array(1...max(numbers.count, 1)), "\(place.context)")
        #expect(points.allSatisfy { $0["condition"] as? String == "whole" }, "\(place.context)")
    }
}
