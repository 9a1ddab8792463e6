//! Bodies of inferences: what they become, or what is said about them.

use crate::support::{bert, model, numbers, pool, spec};
use base64::Engine as _;
use bytes::Bytes;
use half::f16;
use mlos_api::{Class, Error, Inputs, Kind, LifecycleState, ModelDetail, OnMiss, Preprocessing, Signature};
use mlos_http::{Media, read_request};
use mlos_tensor_mem::{DType, Pool, Tensor};

fn read(detail: &ModelDetail, body: &str) -> Result<Vec<(String, Tensor)>, Error> {
    read_in(&pool(), detail, body)
}

fn read_in(pool: &Pool, detail: &ModelDetail, body: &str) -> Result<Vec<(String, Tensor)>, Error> {
    let request = read_request(Media::Json, Bytes::copy_from_slice(body.as_bytes()), detail, pool)?;
    match request.inputs {
        Inputs::Tensors(tensors) => Ok(tensors
            .into_iter()
            .map(|named| (named.name, named.tensor))
            .collect()),
        content => panic!("{body}: {content:?}"),
    }
}

/// One input `x` of that type and shape.
fn takes(dtype: DType, sizes: &[i64]) -> ModelDetail {
    model(
        "test/x",
        vec![spec("x", dtype, sizes, &["batch", "sequence"])],
        Preprocessing::None,
    )
}

#[test]
fn arrays_become_shapes() {
    for (sizes, value, shape) in [
        // As declared.
        (&[3][..], "[1,2,3]", &[3][..]),
        (&[2, 2], "[[1,2],[3,4]]", &[2, 2]),
        (&[-1, 2], "[[1,2],[3,4],[5,6]]", &[3, 2]),
        (&[-1, -1], "[[1,2,3],[4,5,6]]", &[2, 3]),
        (&[1, 2, 2], " [ [ [ 1 , 2 ] , [ 3 , 4 ] ] ] ", &[1, 2, 2]),
        // A row without its batch.
        (&[-1, 2, 2], "[[1,2],[3,4]]", &[1, 2, 2]),
        (&[1, 2, 2], "[[1,2],[3,4]]", &[1, 2, 2]),
        (&[-1, -1, 2], "[[1,2],[3,4],[5,6]]", &[1, 3, 2]),
        // Flat, shaped by the declaration.
        (&[2, 2], "[1,2,3,4]", &[2, 2]),
        (&[-1, 2], "[1,2]", &[1, 2]),
        (&[-1, 2], "[1,2,3,4,5,6]", &[3, 2]),
        (&[-1, -1], "[1,2,3]", &[1, 3]),
        (&[-1, -1, 2], "[1,2,3,4,5,6]", &[1, 3, 2]),
        (&[2, -1], "[1,2,3,4]", &[2, 2]),
        (&[-1], "[1,2,3]", &[3]),
        (&[-1], "[]", &[0]),
        (&[-1, -1], "[]", &[1, 0]),
        (&[-1, -1], "[[]]", &[1, 0]),
        // A number alone.
        (&[], "7", &[]),
        (&[], "[7]", &[]),
        (&[1], "7", &[1]),
        (&[-1], "7", &[1]),
        (&[-1, 1], "7", &[1, 1]),
        (&[-1, -1], "-7.5e0", &[1, 1]),
        (&[1, 1, 1, 1, 1, 1, 1, 1], "[[[[[[[[1]]]]]]]]", &[1; 8]),
    ] {
        let body = format!("{{\"x\":{value}}}");
        let tensors = read(&takes(DType::F32, sizes), &body)
            .unwrap_or_else(|error| panic!("{sizes:?} {value}: {error}"));
        assert_eq!(tensors[0].1.shape().dims(), shape, "{sizes:?} {value}");
    }
}

#[test]
fn arrays_that_fit_no_shape() {
    for (sizes, value, expected) in [
        (&[3][..], "[1,2]", "got the shape [2], expected float32 [3]"),
        (&[2, 2], "[1,2,3]", "got 3 elements, expected float32 [2, 2]"),
        (
            &[-1, 4],
            "[1,2,3]",
            "got 3 elements, expected float32 [batch, 4]: the number must be a multiple of 4",
        ),
        (
            &[-1, 2, 2],
            "[[1,2,3],[4,5,6]]",
            "got the shape [2, 3], expected float32 [batch, 2, 2]",
        ),
        (
            &[2, 2, 2],
            "[[1,2],[3,4]]",
            "got the shape [2, 2], expected float32 [2, 2, 2]",
        ),
        (
            &[-1, -1, -1],
            "[1,2]",
            "several sizes are open, so send nested lists",
        ),
        (&[-1], "[[1,2]]", "got the shape [1, 2], expected float32 [batch]"),
        (&[], "[1,2]", "got 2 elements, expected float32 []"),
        (&[2, 2], "7", "got 1 element, expected float32 [2, 2]"),
        (&[-1, -1], "[[1,2],[3]]", "its lists differ in length"),
        (
            &[-1, -1],
            "[[1],[2,3,4]]",
            "differs in length from others, which have 2",
        ),
        (&[-1, -1], "[1,[2]]", "a list, as its neighbours are"),
        (
            &[-1, -1],
            "[[1],2]",
            "differs in length from others, which have 2",
        ),
        (&[-1, -1], "[[],[1]]", "its lists differ in length"),
        (&[-1, 0], "[1]", "got 1 element, expected float32 [batch, 0]"),
        (&[-1], "[1,]", "expected a number, found ']'"),
        (&[-1], "[,1]", "expected a number, found ','"),
        (&[-1], "[1,,2]", "expected a number"),
        (&[-1], "[1 2]", "expected ',' or ']', found '2'"),
        (&[-1], "[1,2x]", "element 2: expected ',' or ']', found 'x'"),
        (&[-1], "[1,nope]", "element 1: expected a number, found 'nope'"),
        (&[-1], "[1,null]", "expected a number, found 'null'"),
        (
            &[-1],
            "[NaN]",
            "element 0: NaN is not JSON; for a float, write \"NaN\"",
        ),
        (&[-1], "[-Infinity]", "-Infinity is not JSON"),
        (&[-1], "[1e39]", "1e39 does not fit float32"),
        (&[-1], "[\"1\"]", "a string where float32 is expected"),
        (&[-1], "\"text\"", "a string where float32 is expected"),
        (&[-1], "true", "expected a number, found 'true'"),
        (&[-1], "1 2", "expected"),
    ] {
        let body = format!("{{\"x\":{value}}}");
        let error = read(&takes(DType::F32, sizes), &body).map(drop).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{value}");
        assert!(error.to_string().contains(expected), "{sizes:?} {value}: {error}");
    }
}

#[test]
fn elements_of_every_type() {
    fn check<T: mlos_tensor_mem::Element + PartialEq + std::fmt::Debug>(value: &str, expected: &[T]) {
        let tensors = read(&takes(T::DTYPE, &[-1]), &format!("{{\"x\":{value}}}")).unwrap();
        assert_eq!(tensors[0].1.as_slice::<T>().unwrap(), expected, "{value}");
    }
    check::<f32>(
        "[0, -0.5, 1e3, 0.1, \"Infinity\"]",
        &[0.0, -0.5, 1000.0, 0.1, f32::INFINITY],
    );
    check::<f64>("[0.1, 1e300]", &[0.1, 1e300]);
    check::<f16>("[0.1, -65504]", &[f16::from_f64(0.1), f16::MIN]);
    check::<half::bf16>("[0.1]", &[half::bf16::from_f64(0.1)]);
    check::<i8>("[-128, 127]", &[-128, 127]);
    check::<i16>("[-32768]", &[-32768]);
    check::<i32>("[7, -7, 3.0, 1e2]", &[7, -7, 3, 100]);
    check::<i64>("[9223372036854775807]", &[i64::MAX]);
    check::<u8>("[0, 255]", &[0, 255]);
    check::<u16>("[65535]", &[65535]);
    check::<u32>("[4294967295]", &[u32::MAX]);
    check::<u64>("[18446744073709551615]", &[u64::MAX]);
    check::<bool>("[true, false, 1, 0]", &[true, false, true, false]);

    for (dtype, value, expected) in [
        (DType::I64, "[1.5]", "1.5 does not fit int64"),
        (
            DType::U8,
            "[1,256]",
            "element 1: 256 does not fit uint8, whole numbers from 0 to 255",
        ),
        (DType::U32, "[-1]", "-1 does not fit uint32"),
        (DType::Bool, "[2]", "expected true, false, 1 or 0, found '2'"),
        (DType::I32, "[true]", "expected a number"),
        (DType::I32, "[\"NaN\"]", "expected a number"),
        (DType::String, "[1]", "expected a string, found '1'"),
    ] {
        let error = read(&takes(dtype, &[-1]), &format!("{{\"x\":{value}}}"))
            .map(drop)
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{value}: {error}");
    }
}

#[test]
fn strings_are_tensors_too() {
    let detail = takes(DType::String, &[-1, 2]);
    let tensors = read(&detail, r#"{"x":[["a,]","\u00e9\n"],["","ö"]]}"#).unwrap();
    assert_eq!(tensors[0].1.shape().dims(), [2, 2]);
    let strings: Vec<&[u8]> = tensors[0].1.strings().unwrap().collect();
    assert_eq!(strings, ["a,]", "é\n", "", "ö"].map(str::as_bytes));
    let tensors = read(&takes(DType::String, &[1]), r#"{"x":"alone"}"#).unwrap();
    assert_eq!(tensors[0].1.strings().unwrap().next(), Some(&b"alone"[..]));
    for value in ["[\"\\x\"]", "[\"\n\"]", "[\"\\ud800\"]"] {
        assert!(
            read(&takes(DType::String, &[-1]), &format!("{{\"x\":{value}}}")).is_err(),
            "{value}"
        );
    }
}

#[test]
fn inputs_by_name() {
    let detail = bert("test/bert", Preprocessing::Text);
    for body in [
        r#"{"input_ids":[101,7592,102],"attention_mask":[1,1,1],"token_type_ids":[0,0,0]}"#,
        r#"{"input_ids":[[101,7592,102]]}"#,
        r#"{"inputs":{"input_ids":[[101,7592,102]]}}"#,
        r#"{"inputs":{"input_ids":[101,7592,102],"attention_mask":[[1,1,1]]},"priority":"high"}"#,
    ] {
        let mut tensors = read(&detail, body).unwrap();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let found: Vec<_> = tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.as_slice::<i64>().unwrap()))
            .collect();
        let expected: [(&str, &[i64]); 3] = [
            ("attention_mask", &[1, 1, 1]),
            ("input_ids", &[101, 7592, 102]),
            ("token_type_ids", &[0, 0, 0]),
        ];
        assert_eq!(found, expected, "{body}");
        assert!(
            tensors.iter().all(|(_, tensor)| tensor.shape().dims() == [1, 3]),
            "{body}"
        );
    }
}

#[test]
fn names_that_are_wrong() {
    let detail = bert("test/bert", Preprocessing::Text);
    let all = "it takes 'input' (a text), or 'input_ids' (int64 [batch, sequence]), 'attention_mask'";
    for (body, expected) in [
        (
            r#"{"input_idz":[1]}"#,
            "input 'input_idz': model 'test/bert@1.0.0' has no such input (did you mean 'input_ids'?)",
        ),
        (r#"{"pixels":[1]}"#, all),
        (r#"{"inputs":{"pixels":[1]}}"#, all),
        (r#"{"attention_mask":[1]}"#, "input 'input_ids': is missing"),
        (r"{}", "input 'input_ids': is missing"),
        (
            r#"{"input_ids":[1],"input_ids":[2]}"#,
            "input 'input_ids': is given twice",
        ),
        (
            r#"{"input_ids":[1],"inputs":{"input_ids":[2]}}"#,
            "is given twice",
        ),
        (r#"{"input":"text","input_ids":[2]}"#, "not both"),
        (
            r#"{"input":5}"#,
            "input 'input': model 'test/bert@1.0.0' takes 'input' (a text)",
        ),
        (r#"{"input_ids":{"a":1}}"#, "no such input"),
        ("", "the body is empty; it should be a JSON object"),
        ("[1,2]", "the body starts with '[1'; it should be a JSON object"),
        (r#"{"input_ids":[1]"#, "the text ends where ',' is expected"),
        (r#"{"input_ids":[1]}x"#, "expected the end of the body, found 'x'"),
        (r#"{"input_ids" [1]}"#, "expected ':'"),
        (r"{input_ids:[1]}", "expected a string"),
        (r#"{"input_ids":[1],}"#, "expected a string"),
        (r#"{"input_ids":}"#, "expected a value"),
        (
            r#"{"input_ids":[[[[[[[[[1]]]]]]]]]}"#,
            "nested deeper than 8 levels",
        ),
        (
            r#"{"input_ids":[{"a":1}]}"#,
            "an array may hold numbers, strings and arrays only",
        ),
    ] {
        let error = read_request(
            Media::Json,
            Bytes::copy_from_slice(body.as_bytes()),
            &detail,
            &pool(),
        )
        .unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{body}");
        assert!(error.to_string().contains(expected), "{body}: {error}");
    }
    let many: String = (0..100).map(|n| format!("\"k{n}\":1,")).collect();
    let error = read(&detail, &format!("{{{many}\"x\":1}}"))
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("more than 72 members"), "{error}");
}

#[test]
fn controls() {
    let request = |body: &str| {
        let detail = takes(DType::F32, &[-1]);
        read_request(
            Media::Json,
            Bytes::copy_from_slice(body.as_bytes()),
            &detail,
            &pool(),
        )
    };
    let plain = request(r#"{"x":1}"#).unwrap();
    assert_eq!(
        (plain.class, plain.deadline, plain.on_miss),
        (None, None, OnMiss::Reject)
    );
    assert_eq!((plain.component, plain.outputs.len()), (None, 0));

    let full = request(
        r#"{"priority":"Realtime","deadline_ms":2.5,"x":1,"on_miss":"degrade","outputs":["y"],"include_outputs":true,
            "batch_size":1,"input_format":"tensor"}"#,
    )
    .unwrap();
    assert_eq!(
        (full.class, full.on_miss),
        (Some(Class::Realtime), OnMiss::Degrade)
    );
    assert_eq!(full.deadline.unwrap().as_micros(), 2500);
    assert_eq!(full.outputs, ["y"]);
    for (value, class) in [
        ("1", Some(Class::Realtime)),
        ("4", Some(Class::Batch)),
        ("\"0\"", None),
        ("0", None),
    ] {
        assert_eq!(
            request(&format!("{{\"x\":1,\"priority\":{value}}}"))
                .unwrap()
                .class,
            class,
            "{value}"
        );
    }
    assert_eq!(
        request(r#"{"x":1,"deadline_ms":"20"}"#)
            .unwrap()
            .deadline
            .unwrap()
            .as_millis(),
        20
    );

    for (member, expected) in [
        ("\"priority\":5", "priority: '5' is none of realtime"),
        ("\"priority\":\"urgent\"", "priority: 'urgent' is none of"),
        ("\"priority\":true", "expected a name or a number"),
        ("\"priority\":[1]", "expected a name or a number"),
        ("\"deadline_ms\":0", "deadline_ms: 0 ms is not above 0"),
        ("\"deadline_ms\":-1", "is not above 0"),
        ("\"deadline_ms\":1e12", "at most 3600000"),
        ("\"deadline_ms\":\"NaN\"", "is not above 0"),
        (
            "\"deadline_ms\":\"soon\"",
            "'soon' is not a number of milliseconds",
        ),
        ("\"on_miss\":\"panic\"", "neither reject nor degrade"),
        ("\"on_miss\":1", "expected a string for 'on_miss'"),
        ("\"outputs\":\"y\"", "expected a list of names"),
        ("\"component\":\"decoder\"", "has no component 'decoder'"),
        ("\"batch_size\":-1", "expected a whole number"),
    ] {
        let error = request(&format!("{{\"x\":1,{member}}}")).unwrap_err();
        assert!(error.to_string().contains(expected), "{member}: {error}");
    }
}

#[test]
fn an_input_called_like_a_control_wins_with_a_list() {
    let inputs = vec![
        spec("priority", DType::F32, &[-1], &[]),
        spec("input", DType::F32, &[-1], &[]),
    ];
    let detail = model("test/x", inputs, Preprocessing::None);
    let body = Bytes::from_static(br#"{"priority":[1,2],"input":[3]}"#);
    let request = read_request(Media::Json, body, &detail, &pool()).unwrap();
    assert_eq!(request.class, None);
    let body = Bytes::from_static(br#"{"priority":"high","inputs":{"priority":[1,2],"input":3}}"#);
    let request = read_request(Media::Json, body, &detail, &pool()).unwrap();
    assert_eq!(request.class, Some(Class::High));
}

#[test]
fn components_have_their_own_inputs() {
    let mut detail = takes(DType::F32, &[-1]);
    detail.signatures[0].component = String::from("encoder");
    detail.signatures.push(Signature {
        component: String::from("decoder"),
        inputs: vec![spec("y", DType::I64, &[-1], &[])],
        ..Signature::default()
    });
    assert_eq!(read(&detail, r#"{"x":1}"#).unwrap()[0].0, "x");
    assert_eq!(
        read(&detail, r#"{"y":1,"component":"decoder"}"#).unwrap()[0].0,
        "y"
    );
    assert!(read(&detail, r#"{"y":1}"#).is_err());
    assert!(read(&detail, r#"{"x":1,"component":"decoder"}"#).is_err());
}

#[test]
fn texts_and_images_stand_for_tensors() {
    let read = |preprocessing, body: &str| {
        let detail = bert("test/x", preprocessing);
        read_request(
            Media::Json,
            Bytes::copy_from_slice(body.as_bytes()),
            &detail,
            &pool(),
        )
        .map(|request| request.inputs)
    };
    for (body, expected) in [
        (r#"{"input":"Hello"}"#, vec!["Hello"]),
        (
            r#"{"input":"Hell\u00f6","batch_size":1,"input_format":"text"}"#,
            vec!["Hellö"],
        ),
        (r#"{"input":["a","b"]}"#, vec!["a", "b"]),
        (r#"{"input":""}"#, vec![""]),
    ] {
        let Inputs::Text(texts) = read(Preprocessing::Text, body).unwrap() else {
            panic!("{body}")
        };
        assert_eq!(texts, expected, "{body}");
    }

    // Long enough for several pieces, and with every length of padding.
    for len in [1, 2, 3, 1000, 49_152, 49_153, 200_000] {
        let pixels: Vec<u8> = (0..len).map(|n| (n * 7 % 251) as u8).collect();
        let padded = base64::engine::general_purpose::STANDARD.encode(&pixels);
        for text in [
            padded.clone(),
            format!("data:image/png;base64,{padded}"),
            padded.trim_end_matches('=').to_owned(),
        ] {
            let inputs = read(Preprocessing::Image, &format!("{{\"input\":[\"{text}\"]}}")).unwrap();
            let Inputs::Image(images) = inputs else {
                panic!("not an image")
            };
            assert_eq!(images, [Bytes::from(pixels.clone())], "{len}");
        }
    }
    for (body, expected) in [
        (r#"{"input":"!!!"}"#, "the image is not base64"),
        (r#"{"input":""}"#, "the image is empty"),
        (r#"{"input":"data:image/png,abc"}"#, "the data url is not base64"),
    ] {
        let error = read(Preprocessing::Image, body).unwrap_err();
        assert!(error.to_string().contains(expected), "{body}: {error}");
    }
    let padding_inside = format!("{{\"input\":\"{}==={}\"}}", "A".repeat(65_533), "A".repeat(8));
    assert!(read(Preprocessing::Image, &padding_inside).is_err());
    assert!(read(Preprocessing::None, r#"{"input":"Hello"}"#).is_err());

    let image = Bytes::from_static(b"\x89PNG");
    let vision = bert("test/x", Preprocessing::Image);
    let request = read_request(Media::Image, image.clone(), &vision, &pool()).unwrap();
    assert!(matches!(request.inputs, Inputs::Image(images) if images == [image.clone()]));
    assert!(read_request(Media::Image, Bytes::new(), &vision, &pool()).is_err());
    let error = read_request(Media::Image, image, &bert("test/x", Preprocessing::Text), &pool()).unwrap_err();
    assert!(error.to_string().contains("takes no image"), "{error}");
}

#[test]
fn the_only_input_may_be_called_input() {
    assert_eq!(
        read(&takes(DType::F32, &[-1]), r#"{"input":[1,2]}"#).unwrap()[0].0,
        "x"
    );
}

#[test]
fn a_model_that_is_not_ready_says_so() {
    let mut detail = takes(DType::F32, &[-1]);
    detail.signatures.clear();
    detail.state = LifecycleState::Loading;
    assert_eq!(
        read(&detail, r#"{"x":1}"#).map(drop).unwrap_err().kind(),
        Kind::Unavailable
    );
    detail.failure = Some(String::from("the file is cut off"));
    assert_eq!(
        read(&detail, r#"{"x":1}"#).map(drop).unwrap_err().kind(),
        Kind::ModelFailed
    );
}

#[test]
fn a_full_pool_says_so() {
    let pool = Pool::new(mlos_tensor_mem::PoolConfig {
        limit_bytes: 64 << 10,
        ..Default::default()
    })
    .unwrap();
    let body = format!("{{\"x\":[{}]}}", numbers(100_000));
    let error = read_in(&pool, &takes(DType::F32, &[-1]), &body)
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Overloaded, "{error}");
}

/// Says a large product and holds little: no memory is taken before the numbers are counted.
#[test]
fn shapes_that_lie_take_no_memory() {
    let detail = takes(DType::F64, &[1 << 40, 1 << 40]);
    assert!(read(&detail, r#"{"x":[1]}"#).is_err());
    let detail = takes(DType::F64, &[-1, 1 << 62]);
    assert!(read(&detail, r#"{"x":[1]}"#).is_err());
}
