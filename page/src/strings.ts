// Every word that the page says, by screen. `{...}` are functions, so that other languages may order them otherwise.
const plural = (count: number, singular: string, many = `${singular}s`) => `${count.toLocaleString("en")} ${count === 1 ? singular : many}`;

export const count = {
  pictures: (number: number) => plural(number, "picture"),
  labels: (number: number) => plural(number, "label"),
  files: (number: number) => plural(number, "file"),
};

export const say = {
  app: {
    name: "vision",
    title: (screen: string) => `${screen} · llamafarm vision`,
    skip: "Skip to content",
    navigation: "Screens",
    more: "More",
    close: "Close",
    cancel: "Cancel",
    save: "Save",
    remove: "Remove",
    undo: "Undo",
    again: "Try again",
    loading: "Loading",
    retryIn: (seconds: number) => `Asking again in ${seconds} s.`,
    unreachable: "The service does not answer. This page asks again by itself.",
    missing: "There is no such screen.",
    copy: "Copy",
    copied: "Copied",
    requestId: "Request",
  },
  problem: {
    noAnswer: "The service did not answer.",
    status: (status: number) => `The service answered with status ${status}.`,
    offline: "Look whether it runs and whether this device is connected, then try again.",
    key: "Enter a key that works in Settings.",
    scope: "Ask whoever gave you the key for one that allows it.",
    conflict: "Look at what is there now, then try again.",
    busy: "It was busy twice. Try again in a moment.",
    fault: "If it happens again, tell whoever runs the service the request's id.",
  },
  call: {
    show: "Show the call",
    title: "The last call as a command",
    none: "Do something first: the call that did it appears here.",
    keyLeftOut: "Your key is left out: put it into VISION_KEY.",
  },
  keys: {
    title: "Keyboard",
    list: "List the keys",
    search: "Search",
    close: "Close what is open",
    to: (screen: string) => `Go to ${screen}`,
    arrows: "Move in a grid of pictures",
  },
  lock: {
    title: "A key, please",
    lead: "This service only answers with a key. Whoever runs it makes one with `vision keys create`.",
    label: "API key",
    remember: "Remember on this device",
    rememberHint: "Otherwise it is forgotten when this tab closes.",
    enter: "Come in",
    refused: "This key does not work: it may be mistyped, expired or revoked.",
  },
  ways: {
    drop: "Drop pictures or folders here",
    choose: "Choose pictures",
    chooseFolder: "Choose a folder",
    paste: "or paste one",
    camera: "Camera",
    takePhoto: "Take a photo",
    insecureCamera: "Live pictures from the camera need HTTPS or localhost. This takes a photo instead.",
    noCamera: "No camera answered. Look whether this page may use it, in the address bar, and whether another program does.",
    startCamera: "Start the camera",
    stopCamera: "Stop the camera",
    hold: "Hold to record",
    recording: (taken: number, most: number) => `${taken} of ${most}`,
    notPictures: (number: number) => `${count.files(number)} left out: not a picture.`,
  },
  scores: {
    none: "none of these",
    percent: (share: number) => `${share > 0 && share < 0.01 ? "< 1" : share < 1 && share > 0.99 ? "> 99" : Math.round(share * 100)} %`,
    list: "Scores",
  },
  grid: {
    position: (at: number, of: number) => `${at} of ${of}`,
    selected: (number: number) => `${number} selected`,
  },
  chart: {
    table: "Show as a table",
    smooth: "Smoothing",
    log: "Log axis",
  },
  collection: {
    label: "Collection",
    create: "New collection …",
    name: "Name",
    nameHint: "Lower-case letters, digits, - and _.",
    make: "Make it",
  },

  nameIt: {
    title: (number: number) => (number === 1 ? "What is this?" : `What are these ${number} pictures?`),
    field: "Name a label",
    known: "Labels",
    teach: "Teach it",
    others: (number: number) => `and ${number} more`,
  },

  teach: {
    title: "Teach",
    taught: (label: string, number: number) => (number === 1 ? `Taught: ${label}` : `Taught ${number} pictures of ${label}`),
    alsoUnder: (label: string, others: string[]) => `The same picture is taught as ${[label, ...others].join(" and ")}.`,
    hero: "Show it three things. It names the fourth.",
    heroLead: "Drop a picture of each thing below, or a folder for each. One picture a label is enough to start. Everything stays on this machine.",
    samples: "No pictures at hand? Click these:",
    sample: (name: string) => `Teach the sample picture as ${name}`,
    newLabel: "New label",
    newLead: "Drop pictures, or a folder for each label",
    newHold: "Name a label, then hold",
    add: (label: string) => `Add pictures of ${label}`,
    record: (label: string) => `Hold to record pictures of ${label}`,
    open: (label: string, number: number) => `All ${count.pictures(number)} of ${label}`,
    more: (number: number) => `+${number.toLocaleString("en")}`,
    few: "Three or more work better.",
    forget: (label: string) => `Forget ${label} and its pictures`,
    forgot: (number: number) => (number === 1 ? "Forgot a picture" : `Forgot ${number} pictures`),
    forgotLabel: (label: string, number: number) => `Forgot ${label} (${count.pictures(number)})`,
    forgetPicked: (number: number) => `Forget ${count.pictures(number)}`,
    pick: "Click pictures to select them, Shift for a range.",
    picture: (label: string, at: number) => `${label}, picture ${at}`,
    filter: "Filter labels",
    showMore: (number: number) => `Show ${number} more labels`,
    sending: (name: string) => `Sending ${name}`,
    refused: (name: string) => `${name} was refused`,
    dismiss: "Dismiss",
    summary: (labels: number, pictures: number) => `${count.labels(labels)}, ${count.pictures(pictures)}`,
  },

  preview: {
    title: "What it sees",
    lead: "Drop a picture here to ask, or turn the camera on.",
    teachFirst: "Teach it something first.",
    oneLabel: "One more label, and it can tell them apart.",
    choose: "Ask about a picture",
    sample: "Now ask about this one",
    picture: "The picture that is asked about",
    because: "because it looks like",
    similar: (label: string, similarity: number) => `${label}, ${Math.round(similarity * 100)} % alike`,
    says: (label: string) => `It says ${label}.`,
    rejects: "None of these.",
  },

  try: {
    title: "Try",
  },

  ask: {
    title: "Ask",
  },

  review: {
    title: "Review",
  },

  jobs: {
    title: "Train",
  },

  models: {
    title: "Models",
  },

  datasets: {
    title: "Data sets",
  },

  settings: {
    title: "Settings",
  },
};
