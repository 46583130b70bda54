import Foundation
import TestSupport
import Testing

/// The program is killed at random instants of every command that writes; what was acknowledged must be there, and the
/// same command must succeed the next time.
///
/// `HOLDFAST_KILL_ROUNDS=20` kills twenty times as often, `HOLDFAST_KILL_SEED` repeats a run.
@Suite("Kill -9 of the program")
struct KillTests {
    @Test("a first backup that is killed leaves a sound vault, and the next one protects everything")
    func firstBackup() throws {
        var place = try KillPlace("first backup")
        defer { place.close() }
        try place.makeFiles()
        let tree = try place.tree()
        let duration = try place.measure("backup", place.files.path)
        for instant in place.instants(3, over: duration) {
            for part in ["vault", "state", "sheet", "passphrase"] {
                try FileManager.default.removeItem(at: place.directory.appendingPathComponent(part))
            }
            try VaultTemplate.copy(to: place.directory)
            try place.kill("backup", place.files.path, after: instant)
            var expected: [String: FileTree] = [:]
            try place.points(&expected, current: tree)
            try place.checkVault(level: "packs", restoring: expected)
            let report = try place.run("backup", place.files.path)
            expected[try #require(report.last?["point"] as? String)] = tree
            try place.points(&expected, current: tree)
            try place.checkVault(restoring: expected)
            try place.checkNoGarbage()
        }
    }

    @Test("backups that are killed lose no point, and the history of the machine goes on")
    func incrementalBackup() throws {
        var place = try KillPlace("incremental backup")
        defer { place.close() }
        try place.makeFiles()
        var expected: [String: FileTree] = [:]
        try place.run("backup", place.files.path)
        try place.points(&expected, current: place.tree())
        try place.changeFiles()
        let duration = try place.measure("backup", place.files.path)
        try place.points(&expected, current: place.tree())
        for instant in place.instants(4, over: duration) {
            try place.changeFiles()
            let tree = try place.tree()
            try place.kill("backup", place.files.path, after: instant)
            let before = Set(expected.keys)
            try place.points(&expected, current: tree)
            let added = expected.filter { !before.contains($0.key) }
            try place.checkVault(level: "packs", restoring: added)
            try place.changeFiles()
            let report = try place.run("backup", place.files.path)
            let point = try #require(report.last?["point"] as? String)
            expected[point] = try place.tree()
            #expect(report.last?["new_incarnation"] as? Bool == false, "\(place.context)")
        }
        try place.checkVault(restoring: expected)
        try place.checkNoGarbage()
    }

    @Test("a killed backup leaves what it has sent to the next one")
    func resumedBackup() throws {
        var place = try KillPlace("resumed backup")
        defer { place.close() }
        try FileManager.default.createDirectory(at: place.files, withIntermediateDirectories: true)
        for index in 0..<6 {
            try Data(place.random.bytes(8_000_000)).write(to: place.files.appendingPathComponent("file-\(index)"))
        }
        let process = try place.start(["backup", place.files.path])
        func sent() -> Int {
            let names = (try? FileManager.default.subpathsOfDirectory(atPath: place.vault.path)) ?? []
            return names.filter { $0.hasPrefix("packs/") && $0.count == 73 }.count
        }
        // Killed when two packs have their names: the first of them is registered then.
        let before = sent()
        while sent() < before + 2, !process.hasEnded { usleep(2_000) }
        process.kill()
        #expect(process.wait() == -SIGKILL, "\(place.context)")
        let report = try place.run("backup", place.files.path)
        let stored = try #require(report.last?["stored_bytes"] as? Int)
        #expect(stored < 34_000_000, "\(place.context)")
        #expect(report.last?["bytes"] as? Int == 48_000_000)
        try place.checkVault(restoring: ["latest": place.tree()])
        try place.checkNoGarbage()
    }

    @Test("a backup and a collection side by side, of which either is killed, lose nothing")
    func backupBesideReclaim() throws {
        var place = try KillPlace("backup beside reclaim")
        defer { place.close() }
        try place.makeFiles()
        var expected: [String: FileTree] = [:]
        var duration = Duration.zero
        for _ in 0..<3 {
            try place.changeFiles()
            duration = try place.measure("backup", place.files.path)
            try place.points(&expected, current: place.tree())
        }
        for (index, instant) in place.instants(3, over: duration).enumerated() {
            try place.changeFiles()
            let tree = try place.tree()
            // All but the newest two go, so there is something to collect.
            try place.run("retention", "apply", "--keep-last", "2")
            let left = Set(try place.run("points").compactMap { $0["id"] as? String })
            expected = expected.filter { left.contains($0.key) }
            let backup = try place.start(["backup", place.files.path])
            let reclaim = try place.start(["vault", "reclaim"])
            if index % 3 != 0 { reclaim.kill(after: instant) }
            if index % 3 != 1 { backup.kill(after: instant) }
            for process in [backup, reclaim] {
                let status = process.wait()
                #expect(status == 0 || status == -SIGKILL, "\(place.context)")
            }
            let before = Set(expected.keys)
            try place.points(&expected, current: tree)
            try place.checkVault(restoring: expected.filter { !before.contains($0.key) })
            try place.run("backup", place.files.path)
            try place.points(&expected, current: tree)
            try place.run("vault", "reclaim")
        }
        try place.checkVault(restoring: expected)
        try place.checkNoGarbage()
    }

    @Test("deletion and collection that are killed go on the next time, and what is kept stays whole")
    func deletionAndReclaim() throws {
        var place = try KillPlace("retention and reclaim")
        defer { place.close() }
        try place.makeFiles()
        var expected: [String: FileTree] = [:]
        var trees: [FileTree] = []
        var pointIDs: [String] = []
        for _ in 0..<5 {
            try place.changeFiles()
            trees.append(try place.tree())
            let report = try place.run("backup", place.files.path)
            pointIDs.append(try #require(report.last?["point"] as? String))
        }
        let vault = place.vault
        let original = place.directory.appendingPathComponent("original")
        try FileManager.default.copyItem(at: vault, to: original)
        let retention = try place.measure("retention", "apply", "--keep-last", "2")
        let reclaim = try place.measure("vault", "reclaim")
        let size = try place.vaultBytes()
        for (retentionInstant, reclaimInstant) in zip(
            place.instants(3, over: retention), place.instants(3, over: reclaim))
        {
            try FileManager.default.removeItem(at: vault)
            try FileManager.default.copyItem(at: original, to: vault)
            try place.kill("retention", "apply", "--keep-last", "2", after: retentionInstant)
            let ids = Set(try place.run("points").compactMap { $0["id"] as? String })
            expected = Dictionary(uniqueKeysWithValues: zip(pointIDs, trees).filter { ids.contains($0.0) })
            #expect(ids.isSuperset(of: pointIDs.suffix(2)), "\(place.context)")
            try place.checkVault(level: "packs", restoring: [:])
            try place.run("retention", "apply", "--keep-last", "2")
            try place.kill("vault", "reclaim", after: reclaimInstant)
            expected = Dictionary(uniqueKeysWithValues: zip(pointIDs, trees).suffix(2))
            try place.points(&expected, current: trees[4])
            #expect(expected.count == 2, "\(place.context)")
            try place.checkVault(restoring: expected)
            try place.checkNoGarbage()
            // As small as if nothing had been killed.
            #expect(try place.vaultBytes() < size + 100_000, "\(place.context)")
        }
        try place.checkVault(restoring: expected)
        try place.run("backup", place.files.path)
    }

    @Test("a rebuild of the catalog that is killed harms nobody, and the next command finds every point")
    func rebuild() throws {
        var place = try KillPlace("rebuild")
        defer { place.close() }
        try place.makeFiles(60)
        var expected: [String: FileTree] = [:]
        for _ in 0..<3 {
            try place.changeFiles()
            try place.run("backup", place.files.path)
            try place.points(&expected, current: place.tree())
        }
        let duration = try place.measure("vault", "rebuild")
        for (index, instant) in place.instants(4, over: duration).enumerated() {
            try place.kill("vault", "rebuild", after: instant)
            let ids = Set(try place.run("points").compactMap { $0["id"] as? String })
            #expect(ids == Set(expected.keys), "\(place.context)")
            if index % 2 == 0 { try place.run("vault", "rebuild") }
            try place.checkVault(level: "data", restoring: [:])
        }
        try place.checkVault(restoring: expected)
        let report = try place.run("backup", place.files.path)
        #expect(report.last?["new_incarnation"] as? Bool == false, "\(place.context)")
        try place.checkNoGarbage()
    }

    @Test("a restore into a directory that is killed goes on the next time, and leaves nothing half done")
    func restoreToDirectory() throws {
        var place = try KillPlace("restore --to")
        defer { place.close() }
        try place.makeFiles()
        let tree = try place.tree()
        try place.run("backup", place.files.path)
        let target = place.directory.appendingPathComponent("target")
        let duration = try place.measure("restore", "latest", "--to", target.path)
        for instant in place.instants(4, over: duration) {
            try FileManager.default.removeItem(at: target)
            try place.kill("restore", "latest", "--to", target.path, after: instant)
            try place.run("restore", "latest", "--to", target.path)
            #expect(
                try FileTree(target.path + place.files.path).differences(from: tree) == [], "\(place.context)")
        }
        try place.checkVault(level: "packs", restoring: [:])
        try place.checkNoGarbage()
    }

    @Test("a restore in place that is killed can be taken back, or run again to its end")
    func restoreInPlace() throws {
        var place = try KillPlace("restore --in-place")
        defer { place.close() }
        try place.makeFiles()
        let protected = try place.tree()
        let report = try place.run("backup", place.files.path)
        let point = try #require(report.last?["point"] as? String)
        let restore = ["restore", point, place.files.path, "--in-place", "--delete"]
        for _ in 0..<3 { try place.changeFiles() }
        let begun = ContinuousClock.now
        try place.run("restore", point, place.files.path, "--in-place", "--delete")
        let duration = ContinuousClock.now - begun
        #expect(try place.tree().differences(from: protected) == [])
        // The point that was made before it leaves no cache behind: nobody will protect just these paths again.
        let caches = try FileManager.default.subpathsOfDirectory(atPath: place.state.path)
        #expect(caches.filter { $0.hasSuffix(".cache") }.count == 1)
        for (index, instant) in place.instants(4, over: duration).enumerated() {
            for _ in 0..<3 { try place.changeFiles() }
            let changed = try place.tree()
            // So that --undo cannot mean the restore of the round before.
            try FileManager.default.removeItem(at: place.state.appendingPathComponent("last-restore.json"))
            let process = try place.start(restore)
            process.kill(after: instant)
            process.wait()
            if index % 2 == 0 {
                let undone = try place.attempt("restore", "--undo", "--yes")
                if undone.status != 0 {
                    // Killed before it had touched anything.
                    #expect(undone.status == 1 && undone.error.contains("no restore in place"), "\(undone.error)")
                }
                let differences = try place.tree().differences(from: changed)
                #expect(differences == [], "\(place.context): \(undone.status) \(undone.text)\(undone.error)")
            }
            try place.run("restore", point, place.files.path, "--in-place", "--delete")
            #expect(try place.tree().differences(from: protected) == [], "\(place.context)")
        }
        try place.checkVault(restoring: [point: protected])
        try place.checkNoGarbage()
    }

    @Test("a vault init that is killed is run again, or the vault it made is joined with the passphrase")
    func vaultInit() throws {
        var place = try KillPlace("vault init", hasVault: false)
        defer { place.close() }
        try place.makeFiles(5)
        let passphrase = place.directory.appendingPathComponent("passphrase")
        try Data("correct horse battery\n".utf8).write(to: passphrase)
        place.fixture.environment["HOLDFAST_PASSPHRASE_FILE"] = passphrase.path
        // Most of its time goes into the passphrase; the instants are chosen after it, when it begins to write.
        for index in 0..<(2 * KillPlace.rounds) {
            for part in [place.vault, place.state] { try? FileManager.default.removeItem(at: part) }
            let process = try place.start(["vault", "init"])
            let keys = place.vault.appendingPathComponent("keys").path
            while !FileManager.default.fileExists(atPath: keys), !process.hasEnded { usleep(200) }
            usleep(UInt32.random(in: 0...(index % 2 == 0 ? 2_000 : 20_000), using: &place.random))
            process.kill()
            process.wait()
            if FileManager.default.fileExists(atPath: place.vault.appendingPathComponent("config.json").path) {
                let again = try place.attempt("vault", "init")
                #expect(again.status == 1, "\(place.context)")
                #expect(again.error.contains("vault join"), "\(place.context): \(again.error)")
                try place.run("vault", "join")
            } else {
                // Key files without a vault may be what is left of one: somebody has to say that they are not.
                if try !FileManager.default.contentsOfDirectory(atPath: keys).isEmpty {
                    let refused = try place.attempt("vault", "init")
                    #expect(refused.status == 1, "\(place.context)")
                    #expect(refused.error.contains("remove the directory keys"), "\(place.context): \(refused.error)")
                    try FileManager.default.removeItem(atPath: keys)
                }
                try place.run("vault", "init")
            }
            try place.run("backup", place.files.path)
            #expect(try place.run("points").count == 1, "\(place.context)")
            try place.checkVault(level: "packs", restoring: [:])
            try place.checkNoGarbage()
        }
    }
}

extension KillPlace {
    /// Bytes of all packs.
    func vaultBytes() throws -> Int {
        try FileManager.default.subpathsOfDirectory(atPath: vault.path).filter { $0.hasPrefix("packs/") }
            .reduce(0) { sum, name in
                let attributes = try FileManager.default.attributesOfItem(
                    atPath: vault.appendingPathComponent(name).path)
                guard attributes[.type] as? FileAttributeType == .typeRegular else { return sum }
                return sum + (attributes[.size] as? Int ?? 0)
            }
    }
}
