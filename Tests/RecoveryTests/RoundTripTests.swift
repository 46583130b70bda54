import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

@Suite struct RoundTripTests {
    /// Everything a file system can hold, as far as whoever runs the tests may make it.
    static let menagerie = """
        mkdir -p plain/deep/deeper empty-directory secret; : > empty
        printf small > plain/small; head -c 70000 /dev/urandom > plain/medium; head -c 5000000 /dev/urandom > plain/large
        for i in $(seq 400); do head -c $((RANDOM % 6000)) /dev/urandom > plain/deep/f$i; done
        ln -s ../somewhere/else plain/link; ln -s /etc/passwd plain/absolute; ln -s nowhere dangling
        ln plain/small plain/deep/deeper/second-name; ln plain/large large-second; ln plain/link plain/link-second
        ln empty empty-second
        truncate -s 50M sparse; printf x | dd of=sparse bs=1 seek=20000000 conv=notrunc status=none
        truncate -s 3M all-hole; printf end | dd of=tail bs=1 seek=999999 status=none
        mkfifo fifo; python3 -c 'import socket; s=socket.socket(socket.AF_UNIX); s.bind("socket")'
        printf x > $'not \\xff\\xfe UTF-8'; printf y > $'line\\nbreak'; printf z > 'a name with $`"\\'"'"' in it'
        printf t > timed; touch -d '1969-07-20 20:17:40.123456789 UTC' timed
        touch -d '2033-03-03 03:03:03.000000001 UTC' plain/deep; touch -hd '2001-02-03 04:05:06.5 UTC' plain/link
        chmod 4755 plain/small; chmod 0000 plain/medium; chmod 1777 plain; chmod 2750 secret; printf s > secret/s
        chmod 500 plain/deep/deeper
        """

    static let rootOnly = """
        mknod null c 1 3; mknod disk b 7 200; chown 12345:54321 plain/large; chown -h 77:88 dangling; chown 5:6 fifo secret
        chmod 6711 plain/large
        """

    static let attributes = """
        setfattr -n user.colour -v red plain/small; setfattr -n user.big -v "$(head -c 3000 /dev/zero | tr '\\0' q)" plain
        setfacl -m u:1234:rwx,g:99:r plain/deep/f1; setfacl -m d:u:4321:rx plain/deep
        """

    static let rootAttributes = """
        setcap cap_net_raw+ep plain/deep/f2; setfattr -n trusted.secret -v s plain/deep/f3
        setfattr -h -n trusted.onlink -v s dangling
        """

    @Test("everything a file system can hold comes back as it was")
    func everything() throws {
        let fixture = try RestoreFixture()
        try fixture.make(RoundTripTests.menagerie)
        if RestoreFixture.isRoot { try fixture.make(RoundTripTests.rootOnly) }
        try fixture.make(RoundTripTests.attributes)
        if RestoreFixture.isRoot { try fixture.make(RoundTripTests.rootAttributes) }
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let report = try fixture.restore(reader, to: target) { $0.verify = true }
        #expect(report.issues == [])
        #expect(report.verified > 400)
        #expect(try fixture.differences(target + fixture.source) == "")
        // What rsync does not compare: directories' times are among it, holes and flags are not.
        let status = try FileSystem.status(Array((target + fixture.source + "/sparse").utf8))
        #expect(status.size == 50 << 20)
        #expect(status.blocks < 1000, "holes stay holes")
        let root = try FileSystem.status(Array((target + fixture.source).utf8))
        let original = try FileSystem.status(Array(fixture.source.utf8))
        #expect(root.modified == original.modified && root.mode == original.mode)
        // Nothing of the machinery stays behind.
        #expect(try RestoreFixture.shell("find '\(target)' -name '.holdfast*'") == "")
    }

    @Test("a second restore finds everything there and fetches nothing")
    func changedOnly() throws {
        let fixture = try RestoreFixture()
        try fixture.make(RoundTripTests.menagerie)
        let reader = try fixture.backup()
        let target = fixture.place("out")
        try fixture.restore(reader, to: target)
        let again = try fixture.restore(reader, to: target)
        #expect(again.issues == [])
        #expect(again.filesWritten == 0)
        #expect(again.bytesWritten == 0)
        #expect(again.othersWritten == 0)
        #expect(again.metadataOnly == 0)
        #expect(try fixture.differences(target + fixture.source) == "")
    }

    @Test("chosen paths come below the directory with the directories above them, and nothing else")
    func chosenPaths() throws {
        let fixture = try RestoreFixture()
        try fixture.make(
            "mkdir -p a/b/c d; printf 1 > a/b/c/x; printf 2 > a/b/y; printf 3 > d/z; ln a/b/c/x d/x2; chmod 711 a/b")
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let report = try fixture.restore(reader, to: target) {
            $0.paths = [fixture.path.appending("a/b/c".utf8), fixture.path.appending("d/x2".utf8)]
        }
        #expect(report.issues == [])
        let found = try RestoreFixture.shell("cd '\(target + fixture.source)' && find . | sort | tr '\\n' ' '")
        #expect(found == ". ./a ./a/b ./a/b/c ./a/b/c/x ./d ./d/x2 ")
        #expect(try RestoreFixture.shell("stat -c %a '\(target + fixture.source)/a/b'") == "711\n")
        #expect(
            try RestoreFixture.shell(
                "cd '\(target + fixture.source)'; [ a/b/c/x -ef d/x2 ] && stat -c %h d/x2") == "2\n")
        // What is not in the point fails before anything is made.
        let other = fixture.place("other")
        let error = #expect(throws: HoldfastError.self) {
            try fixture.restore(reader, to: other) {
                $0.paths = [fixture.path, fixture.path.appending("nothing".utf8)]
            }
        }
        #expect(error?.code == .notFound)
        #expect(!RestoreFixture.exists(other))
    }

    @Test("paths longer than the kernel takes come back")
    func longPaths() throws {
        let fixture = try RestoreFixture()
        let script = """
            import os
            os.chdir(r'\(fixture.source)')
            for i in range(400):
                os.mkdir('d' * 40); os.chdir('d' * 40)
                open('file', 'w').write(str(i))
            """
        try RestoreFixture.shell("python3 -c \"\(script)\"")
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let report = try fixture.restore(reader, to: target) { $0.verify = true }
        #expect(report.issues == [])
        #expect(report.filesWritten == 400)
        #expect(report.verified == 400)
        #expect(try fixture.restore(reader, to: target).filesUnchanged == 400)
        // The fixture's own removal would meet the limit too.
        try RestoreFixture.shell("rm -rf '\(target)'")
    }

    @Test("a directory of many small files and shared contents comes back")
    func manySmall() throws {
        let fixture = try RestoreFixture()
        var random = SeededGenerator(seed: 11)
        let common = random.bytes(9000)
        for index in 0..<6000 {
            try fixture.write("d\(index % 37)/f\(index)", index % 5 == 0 ? common : random.bytes(index % 3000))
        }
        let reader = try fixture.backup()
        let target = fixture.place("out")
        let report = try fixture.restore(reader, to: target)
        #expect(report.issues == [])
        #expect(report.filesWritten == 6000)
        #expect(try fixture.differences(target + fixture.source) == "")
    }

    @Test("few open files are enough")
    func fewDescriptors() throws {
        let fixture = try RestoreFixture()
        var random = SeededGenerator(seed: 12)
        for index in 0..<300 { try fixture.write("d\(index)/e/f", random.bytes(70_000 + index)) }
        let reader = try fixture.backup()
        let target = fixture.place("out")
        var request = RestoreRequest(paths: [fixture.path], destination: .directory(Array(target.utf8)))
        request.openFiles = 40
        let report = try Restorer(reader: reader, request: request).run()
        #expect(report.issues == [])
        #expect(try fixture.differences(target + fixture.source) == "")
    }
}
