import Client
import Foundation
import Model
import Platform
import Policy
import Recovery
import Testing

@testable import Agent

@Suite("What a machine lets its server restore")
struct RestoreConsentTests {
    /// A directory that belongs to who runs the tests, and a consent file in it.
    private final class Place {
        let path: String
        var consent: RestoreConsent { RestoreConsent(file: Array("\(path)/allow.yaml".utf8)) }

        init(_ text: String? = nil) throws {
            path =
                FileManager.default.temporaryDirectory.resolvingSymlinksInPath()
                .appendingPathComponent("holdfast-consent-\(UUID().uuidString)").path
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            chmod(path, 0o755)
            if let text { try write(text) }
        }
        deinit { try? FileManager.default.removeItem(atPath: path) }

        func write(_ text: String) throws {
            try Data(text.replacing("HERE", with: path).utf8).write(to: URL(fileURLWithPath: "\(path)/allow.yaml"))
            chmod("\(path)/allow.yaml", 0o644)
        }
    }

    private let own = MachineID.random()

    private func wish(_ destination: RestoreWish.Destination, _ paths: [String] = ["/home/ann/x"]) -> RestoreWish {
        RestoreWish(
            source: own, target: own, point: .random(), paths: paths.compactMap { TreePath($0) },
            destination: destination)
    }

    private func folder(_ text: String) -> RestoreWish.Destination { .folder(Array(text.utf8)) }

    private func decide(
        _ place: Place, _ wish: RestoreWish, begun: [UInt8]? = nil, protected: [String] = ["/home"]
    ) throws -> RestoreRequest.Destination {
        try place.consent.destination(
            of: wish, named: "2026-11-21-3fa9", protected: protected.map { Array($0.utf8) }, own: own, begun: begun)
    }

    private func refusal(_ place: Place, _ wish: RestoreWish, _ comment: Comment? = nil) -> String {
        let error = #expect(throws: HoldfastError.self, comment) { try decide(place, wish) }
        #expect(error?.code == .forbidden, comment)
        #expect(error?.context["hint"] != nil, comment)
        return error?.message ?? ""
    }

    @Test("without a file nothing is put back in place, nothing of others comes, and folders are new ones of ours")
    func defaults() throws {
        let place = try Place()
        #expect(try place.consent.allowance() == MachineAllowance())
        #expect(refusal(place, wish(.inPlace)).contains("/home/ann/x to be put back in place"))
        #expect(refusal(place, wish(folder("/etc/cron.d"))).contains("/etc/cron.d"))
        var other = wish(.newFolder)
        other.source = .random()
        #expect(refusal(place, other).contains("another machine"))
    }

    @Test("a new folder is new; what this order has begun there goes on")
    func newFolders() throws {
        let place = try Place("restore: {new-folder: HERE/restored}\n")
        let expected = "\(place.path)/restored/2026-11-21-3fa9"
        #expect(try decide(place, wish(.newFolder)) == .directory(Array(expected.utf8)))
        #expect(!FileManager.default.fileExists(atPath: "\(place.path)/restored"), "a question changes nothing")
        try place.consent.make(.directory(Array(expected.utf8)))
        #expect(try FileSystem.status(Array("\(place.path)/restored".utf8)).mode & 0o777 == 0o755)
        #expect(try FileSystem.status(Array(expected.utf8)).mode & 0o777 == 0o755)
        #expect(refusal(place, wish(.newFolder)).contains("is there already"))
        #expect(try decide(place, wish(.newFolder), begun: Array(expected.utf8)) == .directory(Array(expected.utf8)))
        #expect(refusal(place, wish(folder("\(place.path)/restored"))).contains("does not allow"))
        #expect(try decide(place, wish(folder("\(place.path)/restored/mine"))) != .inPlace)
    }

    @Test("in place goes what the file names, each path of it, and of other machines only when that is said too")
    func inPlace() throws {
        let place = try Place("restore: {in-place: [/home/ann]}\n")
        #expect(try decide(place, wish(.inPlace)) == .inPlace)
        _ = refusal(place, wish(.inPlace, ["/home/ann/x", "/home/bob/y"]))
        _ = refusal(place, wish(.inPlace, ["/"]))
        try place.write("restore: {in-place: true}\n")
        #expect(try decide(place, wish(.inPlace, ["/home/bob"])) == .inPlace)
        _ = refusal(place, wish(.inPlace, ["/etc/passwd"]), "the policy does not protect it")
        var other = wish(.inPlace)
        other.source = .random()
        _ = refusal(place, other)
        try place.write("restore: {in-place: true, other-machines: true}\n")
        #expect(try decide(place, other) == .inPlace)
    }

    @Test("what is taken back is looked at path by path, whatever an order names")
    func takenBack() throws {
        let place = try Place("restore: {in-place: [/home]}\n")
        func check(_ paths: [String]) throws {
            try place.consent.checkInPlace(paths.compactMap { TreePath($0) }, protected: [])
        }
        try check([])
        try check(["/home/ann/x", "/home/bob"])
        let error = #expect(throws: HoldfastError.self) { try check(["/home/ann/x", "/etc/passwd"]) }
        #expect(error?.code == .forbidden && error?.message.contains("/etc/passwd") == true)
        try place.write("restore: {in-place: perhaps}\n")
        #expect(throws: HoldfastError.self) { try check(["/home/ann/x"]) }
    }

    @Test("where everybody may make names nothing is begun that is not there yet")
    func sharedDirectories() throws {
        let place = try Place()
        let shared = "\(place.path)/shared"
        try FileManager.default.createDirectory(atPath: shared, withIntermediateDirectories: true)
        chmod(shared, 0o1777)
        try place.write("restore: {new-folder: HERE/shared/restored, paths: [HERE/shared/other]}\n")
        #expect(refusal(place, wish(.newFolder)).contains("everybody may make names"))
        #expect(refusal(place, wish(folder("\(shared)/other/deep"))).contains("everybody may make names"))
        try FileManager.default.createDirectory(atPath: "\(shared)/restored", withIntermediateDirectories: true)
        chmod("\(shared)/restored", 0o755)
        #expect(try decide(place, wish(.newFolder)) != .inPlace)
    }

    @Test("a file that others could write, a link, a directory and a mistake allow nothing at all")
    func doubtfulFiles() throws {
        let place = try Place("restore: {in-place: true}\n")
        let file = "\(place.path)/allow.yaml"
        chmod(file, 0o666)
        #expect(refusal(place, wish(.newFolder)).contains("can be written by others"))
        chmod(file, 0o644)
        chmod(place.path, 0o777)
        #expect(refusal(place, wish(.newFolder)).contains("The directory of"))
        chmod(place.path, 0o755)
        if geteuid() == 0 {
            chown(file, 12_345, 0)
            #expect(refusal(place, wish(.newFolder)).contains("does not belong to root"))
            chown(file, 0, 0)
        }
        try place.write("restore: {in-place: perhaps}\n")
        #expect(refusal(place, wish(.inPlace)).contains("allow.yaml:1:21: "))
        try FileManager.default.removeItem(atPath: file)
        try FileManager.default.createSymbolicLink(atPath: file, withDestinationPath: "/dev/null")
        #expect(refusal(place, wish(.newFolder)).contains("allows nothing now"))
        try FileManager.default.removeItem(atPath: file)
        try FileManager.default.createDirectory(atPath: file, withIntermediateDirectories: true)
        #expect(refusal(place, wish(.newFolder)).contains("no plain file"))
    }

    @Test("nobody else can lead a restore elsewhere: links and directories of others on the way are refused")
    func ways() throws {
        let place = try Place("restore: {paths: [HERE/in]}\n")
        let base = "\(place.path)/in"
        try FileManager.default.createDirectory(atPath: "\(base)/open", withIntermediateDirectories: true)
        chmod(base, 0o755)
        #expect(try decide(place, wish(folder("\(base)/new/deep"))) == .directory(Array("\(base)/new/deep".utf8)))
        chmod("\(base)/open", 0o777)
        #expect(refusal(place, wish(folder("\(base)/open/x"))).contains("can be written by others"))
        try FileManager.default.createSymbolicLink(atPath: "\(base)/link", withDestinationPath: "/etc")
        #expect(refusal(place, wish(folder("\(base)/link/x"))).contains("is no directory"))
        #expect(refusal(place, wish(folder("\(base)/link"))).contains("is no directory"))
        if geteuid() == 0 {
            chown("\(base)/open", 12_345, 0)
            chmod("\(base)/open", 0o755)
            #expect(refusal(place, wish(folder("\(base)/open/x"))).contains("does not belong to root"))
        }
    }
}
